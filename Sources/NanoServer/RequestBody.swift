import NanoFlow

/// The fields that chat and text completions share, in the types of the wire.
struct RequestBody {
    let model: String?
    let choicesPerPrompt: Int
    let isStreamed: Bool
    let includesUsage: Bool
    let includesContinuousUsage: Bool
    let maxTokens: Int?
    let sampling: SamplingParameters
    let cacheSalt: String?
    let priority: Int
    let requestID: String?
    let returnsTokenIDs: Bool
    /// Whether a text gets the model's beginning of sequence; a chat's template says so itself.
    let addsSpecialTokens: Bool
    /// Tokens of the prompt to keep, from its end; -1: as many as the context has room for.
    let truncatedPromptTokens: Int?

    init(_ body: JSONObject) throws {
        model = try body.value("model", "a string")
        choicesPerPrompt = try body.integer("n") ?? 1
        isStreamed = try body.flag("stream")
        let options: StreamOptions? = try body.value("stream_options", "an object")
        includesUsage = options?.includesUsage ?? false
        includesContinuousUsage = options?.includesContinuousUsage ?? false
        let maxCompletionTokens = try body.integer("max_completion_tokens")
        if let maxCompletionTokens, maxCompletionTokens < 1 {
            throw NanoFlowError(
                .invalidRequest, field: "max_completion_tokens", limit: "at least 1",
                given: "\(maxCompletionTokens)")
        }
        let plainMaxTokens = try body.integer("max_tokens")
        maxTokens = maxCompletionTokens ?? plainMaxTokens
        sampling = try Self.sampling(body)
        cacheSalt = try body.value("cache_salt", "a string")
        priority = try body.integer("priority") ?? 0
        let requestID: String? = try body.value("request_id", "a string")
        self.requestID = requestID.flatMap { Routes.isUsableID($0) ? $0 : nil }
        addsSpecialTokens =
            try body.shape("add_special_tokens") == .null || body.flag("add_special_tokens")
        returnsTokenIDs = try body.flag("return_token_ids")
        truncatedPromptTokens = try body.integer("truncate_prompt_tokens")
        if let truncatedPromptTokens, truncatedPromptTokens < 1, truncatedPromptTokens != -1 {
            throw NanoFlowError(
                .invalidRequest, field: "truncate_prompt_tokens", limit: "-1 or at least 1",
                given: "\(truncatedPromptTokens)")
        }
        if isStreamed, sampling.promptLogprobCount != nil {
            throw NanoFlowError(
                .invalidRequest, field: "prompt_logprobs",
                message: "prompt_logprobs is not available when stream is true.")
        }
        try UnsupportedFields.check(body, choicesPerPrompt: choicesPerPrompt)
    }

    private static func sampling(_ body: JSONObject) throws -> SamplingParameters {
        var sampling = SamplingParameters()
        sampling.temperature = try body.number("temperature") ?? sampling.temperature
        sampling.topP = try body.number("top_p") ?? sampling.topP
        // vLLM spells "all of them" as -1 too.
        let topK = try body.integer("top_k") ?? sampling.topK
        sampling.topK = topK == -1 ? 0 : topK
        sampling.minP = try body.number("min_p") ?? sampling.minP
        sampling.repetitionPenalty =
            try body.number("repetition_penalty") ?? sampling.repetitionPenalty
        sampling.presencePenalty = try body.number("presence_penalty") ?? sampling.presencePenalty
        sampling.frequencyPenalty =
            try body.number("frequency_penalty") ?? sampling.frequencyPenalty
        let seed: Int64? = try body.value("seed", "a 64-bit integer")
        sampling.seed = seed.map(UInt64.init(bitPattern:))
        let stop: OneOrMany<String>? = try body.value("stop", "a string or a list of strings")
        sampling.stopStrings = stop?.values ?? []
        sampling.stopTokens = try body.value("stop_token_ids", "a list of token ids") ?? []
        sampling.ignoresEndOfSequence = try body.flag("ignore_eos")
        sampling.includesStop = try body.flag("include_stop_str_in_output")
        sampling.minTokens = try body.integer("min_tokens") ?? 0
        sampling.promptLogprobCount = try promptLogprobCount(body)
        sampling.logitBias = try logitBias(body)
        return sampling
    }

    /// In range already here: what an echo needs beside it would hide one that is not.
    private static func promptLogprobCount(_ body: JSONObject) throws -> Int? {
        let limit = SamplingParameters.maxLogprobCount
        let count = try body.integer("prompt_logprobs")
        guard let count, !(0...limit).contains(count) else { return count }
        throw NanoFlowError(
            .invalidRequest, field: "prompt_logprobs", limit: "0 to \(limit)", given: "\(count)")
    }

    private static func logitBias(_ body: JSONObject) throws -> [Int: Double] {
        let expected = "an object of token ids with numbers"
        let biases: [String: Double] = try body.value("logit_bias", expected) ?? [:]
        var result: [Int: Double] = [:]
        for (name, bias) in biases {
            guard let token = Int(name), String(token) == name else {
                throw NanoFlowError(
                    .invalidRequest, field: "logit_bias", limit: expected, given: "\"\(name)\"")
            }
            result[token] = bias
        }
        return result
    }

    private struct StreamOptions: Decodable {
        let includesUsage: Bool
        let includesContinuousUsage: Bool

        init(from decoder: any Decoder) throws {
            let options = try JSONObject(decoder)
            includesUsage = try options.flag("include_usage")
            includesContinuousUsage = try options.flag("continuous_usage_stats")
        }
    }
}

/// A value or a list of values.
struct OneOrMany<Value: Decodable>: Decodable {
    let values: [Value]

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let value = try? container.decode(Value.self) {
            values = [value]
        } else {
            values = try container.decode([Value].self)
        }
    }
}

/// The body of `POST /v1/completions`.
struct CompletionBody: Decodable {
    let shared: RequestBody
    let prompts: [Prompt]
    let logprobCount: Int?
    /// Whether the prompt stands before the completion.
    let echoes: Bool

    init(from decoder: any Decoder) throws {
        let body = try JSONObject(decoder)
        shared = try RequestBody(body)
        logprobCount = try body.integer("logprobs")
        echoes = try body.flag("echo")
        let kinds = "a string, a list of strings, a list of token ids, or a list of such lists"
        let prompt: PromptField? = try body.value("prompt", kinds)
        guard let prompt, !prompt.prompts.isEmpty else {
            let given = body.shape("prompt")
            throw NanoFlowError(
                .invalidRequest, field: "prompt", limit: kinds,
                given: given == .null ? "nothing" : "an empty list")
        }
        prompts = prompt.prompts
    }

    private struct PromptField: Decodable {
        let prompts: [Prompt]

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let text = try? container.decode(String.self) {
                prompts = [.text(text)]
            } else if let tokens = try? container.decode([Int].self) {
                prompts = tokens.isEmpty ? [] : [.tokens(tokens)]
            } else if let texts = try? container.decode([String].self) {
                prompts = texts.map(Prompt.text)
            } else {
                prompts = try container.decode([[Int]].self).map(Prompt.tokens)
            }
        }
    }
}
