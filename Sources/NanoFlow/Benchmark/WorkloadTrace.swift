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
        var columns: TraceColumns?
        var requests: [Request] = []
        for (index, bytes) in data.split(separator: 0x0A, omittingEmptySubsequences: false)
            .enumerated()
        {
            let line = TraceLine(bytes, place: "\(name), line \(index + 1)")
            guard !line.isBlank else { continue }
            guard let known = columns else {
                columns = try TraceColumns(line)
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

/// Where the lengths stand in a row.
private struct TraceColumns {
    let prompt: Int
    let completion: Int

    init(_ header: TraceLine) throws(NanoFlowError) {
        prompt = try header.index(of: "ContextTokens")
        completion = try header.index(of: "GeneratedTokens")
    }
}

private struct TraceLine {
    private let fields: [Substring]
    private let place: String

    init(_ bytes: Data, place: String) {
        let text = String(decoding: bytes, as: UTF8.self)
        fields = text.split(separator: ",", omittingEmptySubsequences: false).map {
            $0.trimmingPrefix { $0.isWhitespace }
        }
        self.place = place
    }

    var isBlank: Bool { fields.allSatisfy { $0.allSatisfy(\.isWhitespace) } }

    func index(of column: String) throws(NanoFlowError) -> Int {
        guard let index = fields.firstIndex(where: { trimmed($0) == column }) else {
            throw NanoFlowError(
                .invalidRequest, field: place, limit: "a header with the column \(column)",
                given: short(fields.joined(separator: ",")))
        }
        return index
    }

    func integer(_ index: Int, _ column: String) throws(NanoFlowError) -> Int {
        let text = index < fields.count ? trimmed(fields[index]) : ""
        guard let value = Int(text), value >= 0 else {
            throw NanoFlowError(
                .invalidRequest, field: "\(place): \(column)", limit: "a whole number, 0 or more",
                given: text.isEmpty ? "nothing" : short(text))
        }
        return value
    }

    private func trimmed(_ field: Substring) -> String {
        field.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    private func short(_ text: String) -> String { String(text.prefix(80)).debugDescription }
}
