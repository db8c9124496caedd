import NanoFlow

/// The answers of `POST /v1/chat/completions`.
struct ChatFormat: AnswerFormat {
    static let idPrefix = "chatcmpl-"
    static let wholeObject = "chat.completion"
    static let chunkObject = "chat.completion.chunk"

    /// nil where the request did not ask for log-probabilities.
    let tokenBytes: (@Sendable (Int) -> [UInt8])?

    struct Message: Encodable, Sendable {
        let role = "assistant"
        let content: String
        @ExplicitNull var refusal: String? = nil
    }

    struct Delta: Encodable, Sendable {
        var role: String?
        var content: String?
    }

    struct WholeChoice: Encodable, Sendable {
        let index: Int
        let message: Message
        @ExplicitNull var logprobs: Logprobs? = nil
        @ExplicitNull var finishReason: String? = nil

        private enum CodingKeys: String, CodingKey {
            case index, message, logprobs
            case finishReason = "finish_reason"
        }
    }

    struct ChunkChoice: Encodable, Sendable {
        let index: Int
        let delta: Delta
        @ExplicitNull var logprobs: Logprobs? = nil
        @ExplicitNull var finishReason: String? = nil

        private enum CodingKeys: String, CodingKey {
            case index, delta, logprobs
            case finishReason = "finish_reason"
        }
    }

    func opening(_ index: Int) -> ChunkChoice? {
        ChunkChoice(index: index, delta: Delta(role: "assistant", content: ""))
    }

    func chunk(_ index: Int, _ part: AnswerPart) -> ChunkChoice {
        let isBare = part.text.isEmpty && part.finishReason != nil
        return ChunkChoice(
            index: index, delta: Delta(content: isBare ? nil : part.text),
            logprobs: part.tokens.isEmpty ? nil : logprobs(part),
            finishReason: part.finishReason?.rawValue)
    }

    func whole(_ index: Int, _ part: AnswerPart) -> WholeChoice {
        WholeChoice(
            index: index, message: Message(content: part.text), logprobs: logprobs(part),
            finishReason: part.finishReason?.rawValue)
    }
}

extension ChatFormat {
    struct Logprobs: Encodable, Sendable {
        let content: [TokenEntry]
        @ExplicitNull var refusal: String? = nil
    }

    struct Entry: Encodable, Sendable {
        let token: String
        let logprob: Double
        let bytes: [UInt8]

        init(_ bytes: [UInt8], _ logprob: Double?) {
            token = displayText(bytes)
            self.logprob = finiteLogprob(logprob)
            self.bytes = bytes
        }
    }

    struct TokenEntry: Encodable, Sendable {
        let sampled: Entry
        let alternatives: [Entry]

        private enum CodingKeys: String, CodingKey {
            case token, logprob, bytes
            case alternatives = "top_logprobs"
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(sampled.token, forKey: .token)
            try container.encode(sampled.logprob, forKey: .logprob)
            try container.encode(sampled.bytes, forKey: .bytes)
            try container.encode(alternatives, forKey: .alternatives)
        }
    }

    private func logprobs(_ part: AnswerPart) -> Logprobs? {
        guard let tokenBytes else { return nil }
        let content = part.tokens.map { token in
            TokenEntry(
                sampled: Entry(token.bytes, token.logprob),
                alternatives: token.alternatives.map { Entry(tokenBytes($0.token), $0.logprob) })
        }
        return Logprobs(content: content)
    }
}
