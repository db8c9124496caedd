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

    private enum CodingKeys: String, CodingKey {
        case id, object, created, model, choices, usage
        case systemFingerprint = "system_fingerprint"
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
