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

        /// nil for text.
        package var tokenCount: Int? {
            switch self {
            case .tokens(let ids): ids.count
            case .random(let count): count
            case .text: nil
            }
        }
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

        /// The same with a shorter random prompt and completion where both together have more than
        /// so many tokens; the prompt keeps at least one.
        package func cut(to maxLength: Int) -> Request {
            guard case .random(let count) = prompt else { return self }
            let output = min(outputLength, maxLength - 1)
            return Request(
                prompt: .random(count: min(count, maxLength - output)), outputLength: output)
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
            guard let prompt = request.prompt.tokenCount else { return nil }
            longest = max(longest, prompt + request.outputLength)
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
