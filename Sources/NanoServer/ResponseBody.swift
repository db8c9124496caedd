import NanoFlow

/// An optional that is written as null rather than left out.
@propertyWrapper
struct ExplicitNull<Value: Encodable & Sendable>: Encodable, Sendable {
    var wrappedValue: Value?

    init(wrappedValue: Value?) {
        self.wrappedValue = wrappedValue
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        if let wrappedValue {
            try container.encode(wrappedValue)
        } else {
            try container.encodeNil()
        }
    }
}

/// The token counts of an answer.
struct UsageBody: Encodable, Sendable {
    let promptTokens: Int
    let completionTokens: Int
    /// Of the prompts' tokens, those that were in the cache.
    var cachedPromptTokens = 0

    private enum CodingKeys: String, CodingKey {
        case promptTokens = "prompt_tokens"
        case completionTokens = "completion_tokens"
        case totalTokens = "total_tokens"
        case promptTokensDetails = "prompt_tokens_details"
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(promptTokens, forKey: .promptTokens)
        try container.encode(completionTokens, forKey: .completionTokens)
        try container.encode(promptTokens + completionTokens, forKey: .totalTokens)
        try container.encode(["cached_tokens": cachedPromptTokens], forKey: .promptTokensDetails)
    }
}

/// What chat and text completions have around their choices, whole or chunk.
struct Envelope<Choice: Encodable & Sendable>: Encodable, Sendable {
    let id: String
    let object: String
    let created: Int
    let model: String
    let systemFingerprint: String
    let choices: [Choice]
    /// Left out where nil; null where the client asked for usage and this chunk has none.
    let usage: ExplicitNull<UsageBody>?
    /// Where the time went; in a whole answer, and in the chunk that has the usage of all.
    var metrics: TimingsBody?
    /// Of a chat, whose choices have one prompt; text completions have them in their choices.
    var promptLogprobs: [[String: PromptLogprob]?]?
    var promptTokenIDs: [Int]?

    private enum CodingKeys: String, CodingKey {
        case id, object, created, model, choices, usage, metrics
        case systemFingerprint = "system_fingerprint"
        case promptLogprobs = "prompt_logprobs"
        case promptTokenIDs = "prompt_token_ids"
    }
}

/// A request's timings, in milliseconds, under vLLM's names.
struct TimingsBody: Encodable, Sendable {
    let queueTime: Double
    let timeToFirstToken: Double
    let generationTime: Double
    let meanInterTokenLatency: Double?
    let tokensPerSecond: Double?

    private enum CodingKeys: String, CodingKey {
        case queueTime = "queue_time_ms"
        case timeToFirstToken = "time_to_first_token_ms"
        case generationTime = "generation_time_ms"
        case meanInterTokenLatency = "mean_itl_ms"
        case tokensPerSecond = "tokens_per_second"
    }

    /// Of all choices together: from the first that began to the last that ended.
    init(_ ends: [CompletionEnd]) {
        let timings = ends.map(\.timings)
        let tokens = ends.reduce(0) { $0 + $1.usage.completionTokens }
        let gaps = ends.reduce(0) { $0 + max(0, $1.usage.completionTokens - 1) }
        let decode = timings.reduce(0) { $0 + $1.decode }
        let (queued, first) = (
            timings.map(\.queued).min() ?? 0, timings.map(\.firstToken).min() ?? 0
        )
        let total = timings.map(\.total).max() ?? 0
        queueTime = 1000 * queued
        timeToFirstToken = 1000 * first
        generationTime = 1000 * (total - first)
        meanInterTokenLatency = gaps > 0 ? 1000 * decode / Double(gaps) : nil
        let seconds = total - queued
        tokensPerSecond = tokens > 0 && seconds > 0 ? Double(tokens) / seconds : nil
    }
}

/// The answer of `GET /v1/models`.
struct ModelList: Encodable, Sendable {
    let object = "list"
    let data: [ModelCard]
}

/// The answer of `GET /v1/models/{id}`.
struct ModelCard: Encodable, Sendable {
    let id: String
    let object = "model"
    let created: Int
    let ownedBy = "nanoflow"
    let maxModelLength: Int

    private enum CodingKeys: String, CodingKey {
        case id, object, created
        case ownedBy = "owned_by"
        case maxModelLength = "max_model_len"
    }
}
