/// Requests of a benchmark, all of which arrive at once.
///
/// In: a file, a trace or plain numbers; `WorkloadFile` and `WorkloadTrace` read them. Next:
/// ``OfflineRun`` turns the prompts into token ids and runs them.
package struct Workload: Sendable, Hashable {
    /// What a completion continues.
    package enum Prompt: Sendable, Hashable {
        case tokens([Int])
        case text(String)
        /// So many ids, drawn by ``Workload/seed``.
        case random(count: Int)
    }

    /// One request.
    package struct Request: Sendable, Hashable {
        package let prompt: Prompt
        /// Tokens of the completion, at most.
        package let outputLength: Int

        package init(prompt: Prompt, outputLength: Int) {
            self.prompt = prompt
            self.outputLength = outputLength
        }
    }

    package let requests: [Request]
    /// Prompts came as texts; completions are wanted as texts too.
    package let hasTexts: Bool
    package let seed: UInt64

    /// Requests that a workload can have.
    package static let maxRequestCount = 1_000_000
    /// Tokens that a prompt or a completion can have, whatever the model.
    package static let maxTokenCount = 1 << 24

    package init(requests: [Request], hasTexts: Bool = false, seed: UInt64 = 0) {
        self.requests = requests
        self.hasTexts = hasTexts
        self.seed = seed
    }

    /// Requests of one size with random prompts.
    ///
    /// - Throws: ``NanoFlowError`` for a number out of range.
    package init(
        promptTokens: Int, completionTokens: Int, requestCount: Int, seed: UInt64
    ) throws(NanoFlowError) {
        try Self.check("prompt-tokens", promptTokens, atMost: Self.maxTokenCount)
        try Self.check("completion-tokens", completionTokens, atMost: Self.maxTokenCount)
        try Self.check("requests", requestCount, atMost: Self.maxRequestCount)
        let request = Request(
            prompt: .random(count: promptTokens), outputLength: completionTokens)
        self.init(requests: [Request](repeating: request, count: requestCount), seed: seed)
    }

    /// The longest prompt and completion together; nil where prompts are texts.
    package var maxSequenceLength: Int? {
        var longest = 0
        for request in requests {
            switch request.prompt {
            case .text: return nil
            case .tokens(let ids): longest = max(longest, ids.count + request.outputLength)
            case .random(let count): longest = max(longest, count + request.outputLength)
            }
        }
        return longest
    }

    static func check(
        _ field: String, _ value: Int, atMost limit: Int
    ) throws(NanoFlowError) {
        guard value >= 1, value <= limit else {
            throw NanoFlowError(
                .invalidConfiguration, field: field, limit: "1 to \(limit)", given: "\(value)")
        }
    }
}
