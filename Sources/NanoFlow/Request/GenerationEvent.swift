/// Why a completion ended.
public enum FinishReason: String, Sendable, Hashable, CaseIterable {
    /// An end-of-sequence token, a stop token or a stop string.
    case stop
    /// The limit in tokens, or the end of the context.
    case length
    /// The caller went away, or the engine is shutting down.
    case abort
}

/// What a completion stopped at, where it was one of the request's own stops.
public enum StopCause: Sendable, Hashable {
    /// One of the request's stop tokens.
    case token(Int)
    /// One of the request's stop strings.
    case string(String)
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

/// One token of a prompt, scored by the model.
public struct PromptToken: Sendable, Hashable {
    /// The token's id.
    public let id: Int
    /// Its log-probability after the tokens before it; nil for the first, which has none before it.
    public let logprob: Double?
    /// Its place among all tokens by likelihood, from 1; nil for the first.
    public let rank: Int?
    /// The most likely tokens at its place, best first.
    public let alternatives: [TokenLogprob]

    package init(
        id: Int, logprob: Double? = nil, rank: Int? = nil, alternatives: [TokenLogprob] = []
    ) {
        self.id = id
        self.logprob = logprob
        self.rank = rank
        self.alternatives = alternatives
    }
}

/// What a stream of a completion delivers: a `.prompt` where the request asked for its
/// log-probabilities, one `.token` a token, then one `.finished`.
///
/// The texts of all `.token` events joined, and that of `.finished`, are the completion's text. An
/// event's text is what has become certain with its token: whole characters that cannot be part of a
/// stop string any more; it may be empty, and `.finished` carries the rest.
public enum GenerationEvent: Sendable, Hashable {
    /// The prompt's tokens.
    case prompt([PromptToken])
    /// A token, and the text that it makes certain.
    case token(GeneratedToken, text: String)
    /// The end.
    case finished(CompletionEnd)
}

/// How a completion ended.
public struct CompletionEnd: Sendable, Hashable {
    /// Why.
    public let reason: FinishReason
    /// The request's own stop that it met, if it did.
    public let stop: StopCause?
    /// The text that was still held back.
    public let text: String
    /// How many tokens there were.
    public let usage: TokenUsage
    /// How long it took.
    public let timings: RequestTimings

    package init(
        reason: FinishReason, stop: StopCause? = nil, text: String, usage: TokenUsage,
        timings: RequestTimings = RequestTimings()
    ) {
        self.reason = reason
        self.stop = stop
        self.text = text
        self.usage = usage
        self.timings = timings
    }
}

/// Where a request's time went, in seconds.
public struct RequestTimings: Sendable, Hashable {
    /// From its arrival to the first step that included it.
    public var queued = 0.0
    /// From there to the first token, or to the end where there was none.
    public var prefill = 0.0
    /// From there to the last token.
    public var decode = 0.0

    package init(queued: Double = 0, prefill: Double = 0, decode: Double = 0) {
        self.queued = queued
        self.prefill = prefill
        self.decode = decode
    }

    /// From the request's arrival to its first token.
    public var firstToken: Double { queued + prefill }
    /// From the request's arrival to its last token.
    public var total: Double { queued + prefill + decode }
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
