/// Seconds since a load's start.
struct LoadClock: Sendable {
    private let start = ContinuousClock.now

    var now: Double { start.duration(to: .now) / .seconds(1) }

    func instant(_ seconds: Double) -> ContinuousClock.Instant {
        start.advanced(by: .seconds(seconds))
    }
}
