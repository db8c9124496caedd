import NanoFlow

/// A stretch of one choice's text with the tokens that belong to it; the whole of it, or a chunk.
struct AnswerPart: Sendable {
    var text = ""
    /// The prompt's tokens, where they were scored.
    var prompt: [PromptToken] = []
    var tokens: [GeneratedToken] = []
    var end: CompletionEnd?
    /// Unicode scalars of the choice's tokens before this part.
    var offset = 0
}

/// The shape of an answer: that of chat, or that of text completions.
protocol AnswerFormat: Sendable {
    associatedtype WholeChoice: Encodable & Sendable
    associatedtype ChunkChoice: Encodable & Sendable

    static var idPrefix: String { get }
    static var wholeObject: String { get }
    static var chunkObject: String { get }

    var details: TokenDetails { get }

    /// What a stream says of a choice before its first token.
    func opening(_ index: Int, _ choice: GenerationRequest.Choice) -> ChunkChoice?
    func chunk(_ index: Int, _ part: AnswerPart) -> ChunkChoice
    func whole(_ index: Int, _ choice: GenerationRequest.Choice, _ part: AnswerPart) -> WholeChoice
}

/// What an answer says of its tokens beside their text.
struct TokenDetails: Sendable {
    let generator: any TextGenerator
    /// Whether the request asked for log-probabilities, of how many of the prompt's alternatives, and
    /// for ids.
    let hasLogprobs: Bool
    let promptLogprobCount: Int?
    let hasIDs: Bool

    /// As the lists of log-probabilities show it, where special tokens have a text too.
    func text(of token: Int) -> String {
        displayText(generator.spelling(of: token))
    }

    func tokenIDs(_ part: AnswerPart) -> [Int]? {
        hasIDs ? part.tokens.map(\.id) : nil
    }

    func promptTokenIDs(_ choice: GenerationRequest.Choice) -> [Int]? {
        hasIDs ? choice.prompt : nil
    }

    /// The prompt's log-probabilities as vLLM has them: by the tokens' ids, null for the first.
    func promptLogprobs(_ part: AnswerPart) -> [[String: PromptLogprob]?]? {
        guard let promptLogprobCount else { return nil }
        return part.prompt.map { token in
            guard let logprob = token.logprob, let rank = token.rank else { return nil }
            var entries: [String: PromptLogprob] = [:]
            for (index, other) in token.alternatives.prefix(promptLogprobCount).enumerated() {
                entries["\(other.token)"] = entry(other.token, other.logprob, rank: index + 1)
            }
            entries["\(token.id)"] = entry(token.id, logprob, rank: rank)
            return entries
        }
    }

    private func entry(_ token: Int, _ logprob: Double, rank: Int) -> PromptLogprob {
        PromptLogprob(
            logprob: finiteLogprob(logprob), rank: rank,
            decodedToken: text(of: token))
    }
}

/// One token of `prompt_logprobs`.
struct PromptLogprob: Encodable, Sendable {
    let logprob: Double
    let rank: Int
    let decodedToken: String

    private enum CodingKeys: String, CodingKey {
        case logprob, rank
        case decodedToken = "decoded_token"
    }
}

/// What a completion stopped at, as vLLM tells it: a token's id, or a string.
struct StopReason: Encodable, Sendable {
    let cause: StopCause

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch cause {
        case .token(let id): try container.encode(id)
        case .string(let text): try container.encode(text)
        }
    }
}

extension CompletionEnd {
    var stopReason: StopReason? { stop.map(StopReason.init) }
}

/// A token's text as JSON can carry it: bytes that are no character on their own become U+FFFD.
func displayText(_ bytes: [UInt8]) -> String {
    String(decoding: bytes, as: UTF8.self)
}

/// A log-probability as JSON can carry it.
func finiteLogprob(_ logprob: Double?) -> Double {
    // In this order NaN gives the number.
    max(-9999, logprob ?? -9999)
}
