import NanoDevice
package import NanoFlow

/// Requests, and when each is to be sent whatever becomes of the others: an open loop.
///
/// Next: ``LoadRun`` sends them.
package struct OnlineLoad: Sendable, Hashable {
    /// When requests come.
    package enum Arrivals: Sendable, Hashable {
        /// A Poisson process of so many requests a second; all at once with infinity.
        case poisson(rate: Double)
        /// As a trace has them, so many times as fast.
        case recorded(speed: Double)
    }

    /// Where a load ends: at the first that is reached, or with its source.
    package struct Limits: Sendable, Hashable {
        package var requestCount: Int?
        /// Seconds in which requests may arrive.
        package var duration: Double?

        package init(requestCount: Int? = nil, duration: Double? = nil) {
            self.requestCount = requestCount
            self.duration = duration
        }
    }

    /// One request.
    package struct Request: Sendable, Hashable {
        /// Seconds since the load's start.
        package let arrival: Double
        package let prompt: OnlinePrompt
        /// Tokens of the completion.
        package let outputLength: Int
    }

    package let arrivals: Arrivals
    package let requests: [Request]

    /// Requests a second: those of the Poisson process, or as the trace has them from the first that
    /// is sent to the last; infinite where all arrive at once.
    package var rate: Double {
        if case .poisson(let rate) = arrivals { return rate }
        let span = (requests.last?.arrival ?? 0) - (requests.first?.arrival ?? 0)
        return span > 0 ? Double(requests.count - 1) / span : .infinity
    }

    /// Lays the requests out in time.
    ///
    /// - Parameters:
    ///   - source: Where they come from.
    ///   - arrivals: When they come.
    ///   - limits: Where they end.
    ///   - seed: Chooses the gaps and the prompts.
    ///   - index: Of the load in a sweep: loads have equal gaps, and prompts of their own, of which
    ///     a cache of the server knows nothing.
    /// - Throws: ``NanoFlowError`` where the source has too few requests or no times, and where
    ///   nothing ends the load.
    package init(
        _ source: RequestSource, _ arrivals: Arrivals, limits: Limits, seed: UInt64, index: Int = 0
    ) throws(NanoFlowError) {
        let count = try Self.requestCount(source, arrivals, limits)
        let times: [Double]
        switch arrivals {
        case .poisson(let rate):
            times = PoissonArrivals.times(count: count, rate: rate, seed: seed)
        case .recorded(let speed):
            times = try source.recordedArrivals().prefix(count).map { $0 / speed }
                .filter { $0 < limits.duration ?? .infinity }
        }
        // Other draws than those of the gaps.
        var seeds = SplitMix64(seed: ~seed)
        for _ in 0..<index { _ = seeds.next() }
        let loadSeed = seeds.next()
        var promptSeeds = SplitMix64(seed: loadSeed)
        var requests: [Request] = []
        for (index, arrival) in times.enumerated() {
            let (prompt, length) = source.request(
                index, seed: promptSeeds.next(), loadSeed: loadSeed)
            requests.append(Request(arrival: arrival, prompt: prompt, outputLength: length))
        }
        self.arrivals = arrivals
        self.requests = requests
    }

    /// The requests that a load has at most; its duration may leave out some of a trace.
    private static func requestCount(
        _ source: RequestSource, _ arrivals: Arrivals, _ limits: Limits
    ) throws(NanoFlowError) -> Int {
        let known = source.count ?? Workload.maxRequestCount
        var counts = [source.count, limits.requestCount].compactMap(\.self)
        if case .poisson(let rate) = arrivals, rate.isFinite, let duration = limits.duration {
            // A larger number is refused below.
            counts.append(Int(max(1, min((duration * rate).rounded(), 1e9))))
        }
        guard let count = counts.min() else {
            throw NanoFlowError(
                .invalidConfiguration, field: "requests",
                limit: "given where nothing else ends the load", given: "nothing")
        }
        for count in [limits.requestCount ?? count, count] where !(1...known).contains(count) {
            throw NanoFlowError(
                .invalidConfiguration, field: "requests",
                limit: "1 to \(known), as many as there are", given: "\(count)")
        }
        return count
    }
}
