import NanoFlow

/// Normalised latency by request rate, as a sweep has measured it.
package struct LatencyCurve: Sendable, Hashable {
    /// One load; latencies in ms a token.
    package struct Point: Sendable, Hashable {
        /// Requests a second.
        package let rate: Double
        package let latency: Distribution

        package init(rate: Double, latency: Distribution) {
            (self.rate, self.latency) = (rate, latency)
        }
    }

    /// What NanoFlow's paper allows on average, ms a token.
    package static let limit = 200.0

    /// By ascending rate.
    package let points: [Point]

    package init(_ points: [Point]) { self.points = points.sorted { $0.rate < $1.rate } }

    /// Where the mean latency first goes over the limit, between the two loads next to it by a
    /// straight line, in requests a second; nil where it does at the first load, or never.
    package func highestRate(within limit: Double = LatencyCurve.limit) -> Double? {
        guard let over = points.firstIndex(where: { $0.latency.mean > limit }), over > 0 else {
            return nil
        }
        let (low, high) = (points[over - 1], points[over])
        let share = (limit - low.latency.mean) / (high.latency.mean - low.latency.mean)
        return low.rate + share * (high.rate - low.rate)
    }

    /// What ``highestRate(within:)`` says, as a sentence.
    package var sentence: String {
        let limit = "\(Int(Self.limit)) ms a token"
        guard let first = points.first, let last = points.last else {
            return "No load had a completed request."
        }
        if let rate = highestRate() {
            return "The mean normalised latency reaches \(limit) at \(rounded(rate)) requests/s "
                + "(interpolated)."
        }
        return first.latency.mean > Self.limit
            ? "The mean normalised latency is over \(limit) at \(rounded(first.rate)) requests/s "
                + "already."
            : "The mean normalised latency is within \(limit) up to \(rounded(last.rate)) "
                + "requests/s, the highest rate measured."
    }

    private func rounded(_ rate: Double) -> String { decimal(rate, rate < 10 ? 2 : 1) }
}
