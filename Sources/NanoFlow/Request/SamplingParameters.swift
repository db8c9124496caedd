/// How the tokens of one completion are chosen, and when it ends.
///
/// The order is: biases and penalties on the logits, temperature, min-p, top-k, top-p, then one draw.
/// Temperature 0 takes the largest logit (the smallest id among equals) and ignores the last four.
public struct SamplingParameters: Sendable, Hashable {
    /// Divides the logits, 0...100; 0 is greedy.
    public var temperature: Double
    /// Keeps the k most likely tokens; 0 keeps all.
    public var topK: Int
    /// Keeps the smallest set of most likely tokens whose probability reaches this, in (0, 1].
    public var topP: Double
    /// Drops tokens less likely than this share of the most likely one, 0...1.
    public var minP: Double
    /// Divides positive and multiplies negative logits of tokens seen in prompt or completion.
    ///
    /// In 0.01...100; 1 is off (Keskar et al. 2019).
    public var repetitionPenalty: Double
    /// Subtracted once from the logits of tokens seen in the completion, -2...2.
    public var presencePenalty: Double
    /// Subtracted for each occurrence in the completion, -2...2.
    public var frequencyPenalty: Double
    /// Makes the draws repeatable, whatever else runs beside them; nil draws a fresh seed.
    public var seed: UInt64?
    /// The completion's limit in tokens; nil is what the context leaves.
    public var maxTokens: Int?
    /// Token ids that end the completion, beside the model's own end-of-sequence tokens.
    public var stopTokens: [Int]
    /// Texts that end the completion; they are not part of it, unless ``includesStop`` says so.
    public var stopStrings: [String]
    /// Whether the stop string or stop token that ended the completion is part of its text.
    public var includesStop = false
    /// Nothing but the limit ends the completion before it has so many tokens.
    public var minTokens = 0
    /// Added to the logits of these token ids before anything else, -100...100 each.
    public var logitBias: [Int: Double] = [:]
    /// Goes on after end-of-sequence tokens; for benchmarks.
    public var ignoresEndOfSequence: Bool
    /// How many alternatives to give, 0...20, beside each token's log-probability; nil: neither.
    ///
    /// They are under the model's own distribution, before penalties and temperature.
    public var logprobCount: Int?
    /// As ``logprobCount``, for the tokens of the prompt; then none of them is taken from the cache, and
    /// ``maxTokens`` may be 0.
    public var promptLogprobCount: Int?

    /// The defaults sample from the model's own distribution until it ends or the context is full.
    public init(
        temperature: Double = 1, topK: Int = 0, topP: Double = 1, minP: Double = 0,
        repetitionPenalty: Double = 1, presencePenalty: Double = 0, frequencyPenalty: Double = 0,
        seed: UInt64? = nil, maxTokens: Int? = nil, stopTokens: [Int] = [],
        stopStrings: [String] = [], ignoresEndOfSequence: Bool = false, logprobCount: Int? = nil
    ) {
        self.temperature = temperature
        self.topK = topK
        self.topP = topP
        self.minP = minP
        self.repetitionPenalty = repetitionPenalty
        self.presencePenalty = presencePenalty
        self.frequencyPenalty = frequencyPenalty
        self.seed = seed
        self.maxTokens = maxTokens
        self.stopTokens = stopTokens
        self.stopStrings = stopStrings
        self.ignoresEndOfSequence = ignoresEndOfSequence
        self.logprobCount = logprobCount
    }
}

extension SamplingParameters {
    /// Whether nothing but the limit ends the completion.
    package var endsAtLimit: Bool {
        ignoresEndOfSequence && stopTokens.isEmpty && stopStrings.isEmpty
    }

    /// Changes of logits: first those of the tokens that would end the completion early, which are as
    /// many as `earlyCount` says.
    package func biases(endTokens: Set<Int>) -> (all: [LogitBias], earlyCount: Int) {
        var early: Set<Int> = minTokens > 0 ? Set(stopTokens) : []
        if minTokens > 0, !ignoresEndOfSequence { early.formUnion(endTokens) }
        let ruledOut = early.sorted().map { LogitBias(token: Int32($0), value: -.infinity) }
        let biased = logitBias.sorted { $0.key < $1.key }
            .map { LogitBias(token: Int32($0.key), value: Float($0.value)) }
        return (ruledOut + biased, ruledOut.count)
    }

    package static let maxStopCount = 16
    package static let maxStopByteCount = 1024
    package static let maxLogprobCount = 20
    package static let maxBiasCount = 512

    /// Throws ``NanoFlowError`` with the field, the limit and the value given.
    package func validate(vocabularyCount: Int) throws(NanoFlowError) {
        try Self.check("temperature", temperature, 0...100)
        try Self.check("top_k", Double(topK), 0...Double(Int32.max))
        try Self.check("top_p", topP, Double.leastNonzeroMagnitude...1, "above 0 and at most 1")
        try Self.check("min_p", minP, 0...1)
        try Self.check(
            "repetition_penalty", repetitionPenalty, 0.01...100)
        try Self.check("presence_penalty", presencePenalty, -2...2)
        try Self.check("frequency_penalty", frequencyPenalty, -2...2)
        if let maxTokens {
            let fewest = promptLogprobCount == nil ? 1.0 : 0
            try Self.check("max_tokens", Double(maxTokens), fewest...Double(Int32.max))
        }
        try Self.check(
            "min_tokens", Double(minTokens), 0...Double(maxTokens ?? Int(Int32.max)),
            maxTokens.map { "0 to max_tokens, which is \($0)" })
        if let logprobCount {
            try Self.check("logprobs", Double(logprobCount), 0...Double(Self.maxLogprobCount))
        }
        if let promptLogprobCount {
            try Self.check(
                "prompt_logprobs", Double(promptLogprobCount), 0...Double(Self.maxLogprobCount))
        }
        try validateBiases(vocabularyCount: vocabularyCount)
        let stops = stopTokens.count + stopStrings.count
        try Self.check("stop", Double(stops), 0...Double(Self.maxStopCount), "at most 16 entries")
        for token in stopTokens {
            try Self.check("stop_token_ids", Double(token), 0...Double(vocabularyCount - 1))
        }
        for text in stopStrings where text.isEmpty || text.utf8.count > Self.maxStopByteCount {
            throw NanoFlowError(
                .invalidRequest, field: "stop", limit: "1 to \(Self.maxStopByteCount) bytes each",
                given: "\(text.utf8.count) bytes")
        }
    }

    private func validateBiases(vocabularyCount: Int) throws(NanoFlowError) {
        try Self.check(
            "logit_bias", Double(logitBias.count), 0...Double(Self.maxBiasCount),
            "at most \(Self.maxBiasCount) entries")
        for (token, bias) in logitBias {
            try Self.check("logit_bias", bias, -100...100)
            try Self.check(
                "logit_bias", Double(token), 0...Double(vocabularyCount - 1),
                "token ids from 0 to \(vocabularyCount - 1)")
        }
    }

    private static func check(
        _ field: String, _ value: Double, _ range: ClosedRange<Double>, _ limit: String? = nil
    ) throws(NanoFlowError) {
        // NaN is in no range.
        guard range.contains(value) else {
            let bounds = "\(plain(range.lowerBound)) to \(plain(range.upperBound))"
            throw NanoFlowError(
                .invalidRequest, field: field, limit: limit ?? bounds, given: plain(value))
        }
    }

    private static func plain(_ value: Double) -> String {
        Int(exactly: value).map(String.init) ?? "\(value)"
    }
}
