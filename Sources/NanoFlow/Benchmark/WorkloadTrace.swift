package import Foundation

extension Workload {
    /// Which rows of a trace are taken.
    package struct TraceLimits: Sendable, Hashable {
        /// Rows to take.
        package var requestCount: Int
        /// Tokens of a prompt at most; nil is any number.
        package var maxPrompt: Int?
        /// Tokens of a completion at most; nil is any number.
        package var maxCompletion: Int?

        package init(requestCount: Int, maxPrompt: Int? = nil, maxCompletion: Int? = nil) {
            self.requestCount = requestCount
            self.maxPrompt = maxPrompt
            self.maxCompletion = maxCompletion
        }
    }

    /// Requests of the lengths of a trace, with random prompts.
    ///
    /// A trace is a CSV file with a header that names the columns `ContextTokens` and
    /// `GeneratedTokens`, as the Azure LLM inference traces have it. The first rows are taken whose
    /// lengths are within the limits and not 0.
    /// - Throws: ``NanoFlowError`` for a file that cannot be read, with the line at fault, and when
    ///   too few rows are within the limits.
    package init(
        trace path: String, limits: TraceLimits, seed: UInt64
    ) throws(NanoFlowError) {
        try self.init(
            trace: Workload.contents(of: path), name: path, limits: limits, seed: seed)
    }

    /// As ``init(trace:limits:seed:)``; `name` stands for the file in errors.
    package init(
        trace data: Data, name: String, limits: TraceLimits, seed: UInt64
    ) throws(NanoFlowError) {
        try Self.check("requests", limits.requestCount, atMost: Self.maxRequestCount)
        try Self.check("max-prompt", limits.maxPrompt ?? 1, atMost: Self.maxTokenCount)
        try Self.check("max-completion", limits.maxCompletion ?? 1, atMost: Self.maxTokenCount)
        let prompts = 1...(limits.maxPrompt ?? Self.maxTokenCount)
        let completions = 1...(limits.maxCompletion ?? Self.maxTokenCount)
        var columns: (prompt: Int, completion: Int)?
        var requests: [Request] = []
        for (index, bytes) in data.split(separator: 0x0A, omittingEmptySubsequences: false)
            .enumerated()
        {
            let line = CSVLine(bytes, place: "\(name), line \(index + 1)")
            guard !line.isBlank else { continue }
            guard let known = columns else {
                columns = try (line.column("ContextTokens"), line.column("GeneratedTokens"))
                continue
            }
            let prompt = try line.integer(known.prompt, "ContextTokens")
            let completion = try line.integer(known.completion, "GeneratedTokens")
            guard prompts.contains(prompt), completions.contains(completion) else { continue }
            requests.append(Request(prompt: .random(count: prompt), outputLength: completion))
            if requests.count == limits.requestCount { break }
        }
        guard requests.count == limits.requestCount else {
            throw NanoFlowError(
                .invalidConfiguration, field: "requests",
                limit: "1 to \(requests.count), the rows of \(name) within the limits",
                given: "\(limits.requestCount)")
        }
        self.init(requests: requests, seed: seed)
    }
}
