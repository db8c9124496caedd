/// The figures of one load; percentiles are of its completed requests.
package struct LoadFigures: Sendable, Hashable, Encodable {
    package let completed: Int
    package let failed: Int
    /// From the load's start to the end of its last request, seconds.
    package let duration: Double
    /// Tokens of the completed requests, as the server counts them.
    package let inputTokens: Int
    package let generatedTokens: Int
    /// Completed requests a second.
    package let requestThroughput: Double
    /// Completed requests that met the objective, a second; nil without one.
    package let requestGoodput: Double?
    /// Tokens a second.
    package let outputThroughput: Double
    package let totalThroughput: Double
    /// Tokens of the best of the seconds since the load's start; those of a completion are taken to
    /// have come in equal parts with its events.
    package let peakOutputThroughput: Double
    /// Requests that were in flight at the same time, at most.
    package let peakConcurrentRequests: Int
    /// Completions with fewer tokens than asked for.
    package let shortCompletions: Int

    /// Times in ms.
    package let ttft: Distribution?
    package let tpot: Distribution?
    package let itl: Distribution?
    package let e2el: Distribution?
    /// ms a token.
    package let normalizedLatency: Distribution?
    /// How late requests were sent, failed ones too.
    package let lag: Distribution?

    /// - Parameters:
    ///   - records: What became of each request.
    ///   - objective: What is good.
    package init(_ records: [RequestRecord], objective: Objective?) {
        let completions = records.compactMap(\.completion)
        let duration = records.map(\.ended).max() ?? 0
        let rate = { (count: Double) in duration > 0 ? count / duration : 0 }
        completed = completions.count
        failed = records.count - completions.count
        self.duration = duration
        inputTokens = completions.reduce(0) { $0 + $1.promptTokens }
        generatedTokens = completions.reduce(0) { $0 + $1.completionTokens }
        requestThroughput = rate(Double(completions.count))
        requestGoodput = objective.map { objective in
            rate(Double(completions.count(where: objective.isMet)))
        }
        outputThroughput = rate(Double(generatedTokens))
        totalThroughput = rate(Double(inputTokens + generatedTokens))
        peakOutputThroughput = Self.peakTokens(completions)
        peakConcurrentRequests = Self.peakConcurrency(records)
        shortCompletions = records.count { record in
            record.completion.map { $0.completionTokens < record.outputLength } ?? false
        }

        let milliseconds = { (seconds: [Double]) in Distribution(seconds.map { $0 * 1000 }) }
        ttft = milliseconds(completions.map(\.timeToFirstToken))
        tpot = milliseconds(completions.compactMap(\.timePerOutputToken))
        itl = milliseconds(completions.flatMap(\.interTokenLatencies))
        e2el = milliseconds(completions.map(\.latency))
        normalizedLatency = milliseconds(completions.map(\.normalizedLatency))
        lag = milliseconds(records.map(\.lag))
    }

    private static func peakTokens(_ completions: [MeasuredCompletion]) -> Double {
        var tokens: [Int: Double] = [:]
        for completion in completions {
            let times = completion.textTimes.isEmpty ? [completion.end] : completion.textTimes
            let share = Double(completion.completionTokens) / Double(times.count)
            for time in times { tokens[Int(time), default: 0] += share }
        }
        return tokens.values.max() ?? 0
    }

    private static func peakConcurrency(_ records: [RequestRecord]) -> Int {
        // Of one moment, ends come before beginnings.
        let changes = (records.map { ($0.sent, 1) } + records.map { ($0.ended, -1) }).sorted(by: <)
        var (current, peak) = (0, 0)
        for (_, change) in changes {
            current += change
            peak = max(peak, current)
        }
        return peak
    }
}
