/// Why a completion ended.
public enum FinishReason: String, Sendable, Hashable, CaseIterable {
    /// An end-of-sequence token, a stop token or a stop string.
    case stop
    /// The limit in tokens, or the end of the context.
    case length
    /// The caller went away, or the engine is shutting down.
    case abort
}

/// A token with its log-probability under the model's own distribution (before temperature).
public struct TokenLogprob: Sendable, Hashable {
    /// The token's id.
    public let token: Int
    /// Natural logarithm of its probability.
    public let logprob: Double

    package init(token: Int, logprob: Double) {
        self.token = token
        self.logprob = logprob
    }
}

/// One token of a completion.
public struct GeneratedToken: Sendable, Hashable {
    /// The token's id.
    public let id: Int
    /// Its bytes; a character may span several tokens.
    public let bytes: [UInt8]
    /// Its log-probability, where the request asked for it.
    public let logprob: Double?
    /// The most likely tokens at this position, best first, where the request asked for them.
    public let alternatives: [TokenLogprob]

    package init(id: Int, bytes: [UInt8], logprob: Double?, alternatives: [TokenLogprob]) {
        self.id = id
        self.bytes = bytes
        self.logprob = logprob
        self.alternatives = alternatives
    }
}

/// What a stream of a completion delivers: one `.token` a token, then one `.finished`.
///
/// The texts of all `.token` events joined are the completion's text. An event's text is what has
/// become certain with its token: whole characters that cannot be part of a stop string any more;
/// it may be empty, and `.finished` carries the rest.
public enum GenerationEvent: Sendable, Hashable {
    /// A token, and the text that it makes certain.
    case token(GeneratedToken, text: String)
    /// The end: the text that was still held back, the reason, and the token counts.
    case finished(FinishReason, text: String, usage: TokenUsage)
}

/// How many tokens a request used.
public struct TokenUsage: Sendable, Hashable {
    /// Tokens of the prompt.
    public let promptTokens: Int
    /// Tokens of the completion, an end-of-sequence token included.
    public let completionTokens: Int
    /// Of the prompt's tokens, those whose keys and values were still in the cache.
    public let cachedPromptTokens: Int

    package init(promptTokens: Int, completionTokens: Int, cachedPromptTokens: Int = 0) {
        self.cachedPromptTokens = cachedPromptTokens
        self.promptTokens = promptTokens
        self.completionTokens = completionTokens
    }
}

/// A whole completion.
public struct Completion: Sendable, Hashable {
    /// Its text, without special tokens and stop strings.
    public let text: String
    /// Its tokens.
    public let tokens: [GeneratedToken]
    /// Why it ended.
    public let finishReason: FinishReason
    /// Token counts of prompt and completion.
    public let usage: TokenUsage
}
