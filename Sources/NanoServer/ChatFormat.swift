import NanoFlow

/// The answers of `POST /v1/chat/completions`.
struct ChatFormat: AnswerFormat {
    static let idPrefix = "chatcmpl-"
    static let wholeObject = "chat.completion"
    static let chunkObject = "chat.completion.chunk"

    let details: TokenDetails

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
        @ExplicitNull var stopReason: StopReason? = nil
        var tokenIDs: [Int]?

        private enum CodingKeys: String, CodingKey {
            case index, message, logprobs
            case finishReason = "finish_reason"
            case stopReason = "stop_reason"
            case tokenIDs = "token_ids"
        }
    }

    struct ChunkChoice: Encodable, Sendable {
        let index: Int
        let delta: Delta
        @ExplicitNull var logprobs: Logprobs? = nil
        @ExplicitNull var finishReason: String? = nil
        @ExplicitNull var stopReason: StopReason? = nil
        var tokenIDs: [Int]?

        private enum CodingKeys: String, CodingKey {
            case index, delta, logprobs
            case finishReason = "finish_reason"
            case stopReason = "stop_reason"
            case tokenIDs = "token_ids"
        }
    }

    func opening(_ index: Int, _ choice: GenerationRequest.Choice) -> ChunkChoice? {
        ChunkChoice(index: index, delta: Delta(role: "assistant", content: ""))
    }

    func chunk(_ index: Int, _ part: AnswerPart) -> ChunkChoice {
        let isBare = part.text.isEmpty && part.end != nil
        return ChunkChoice(
            index: index, delta: Delta(content: isBare ? nil : part.text),
            logprobs: part.tokens.isEmpty ? nil : logprobs(part),
            finishReason: part.end?.reason.rawValue, stopReason: part.end?.stopReason,
            tokenIDs: details.tokenIDs(part))
    }

    func whole(
        _ index: Int, _ choice: GenerationRequest.Choice, _ part: AnswerPart
    ) -> WholeChoice {
        WholeChoice(
            index: index, message: Message(content: part.text), logprobs: logprobs(part),
            finishReason: part.end?.reason.rawValue, stopReason: part.end?.stopReason,
            tokenIDs: details.tokenIDs(part))
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
        guard details.hasLogprobs else { return nil }
        let content = part.tokens.map { token in
            TokenEntry(
                sampled: Entry(details.generator.spelling(of: token.id), token.logprob),
                alternatives: token.alternatives.map {
                    Entry(details.generator.spelling(of: $0.token), $0.logprob)
                })
        }
        return Logprobs(content: content)
    }
}
