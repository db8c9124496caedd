import NanoFlow

/// A request that has passed the border: everything in it is in range, but for what only the
/// engine can judge (it does when the streams start).
struct GenerationRequest: Sendable {
    /// One text to generate.
    struct Choice: Sendable {
        let prompt: [Int]
        let sampling: SamplingParameters
    }

    /// How the answer is sent.
    enum Delivery: Sendable, Hashable {
        case whole
        case streamed(includesUsage: Bool, includesContinuousUsage: Bool)
    }

    /// The choices of the first prompt, then those of the second, and so on.
    let choices: [Choice]
    /// Tokens of the prompts, each prompt counted once.
    let promptTokenCount: Int
    private let choicesPerPrompt: Int
    /// Keeps what is cached to requests with the same salt; nil: to all without one.
    let cacheSalt: String?
    let priority: Int
    let delivery: Delivery

    /// Checks and tokenizes.
    ///
    /// `logprobCount` comes apart from the body because the two endpoints spell it differently.
    /// `defaultMaxTokens` holds where the body gives none; nil is what the context leaves.
    ///
    /// - Throws: `NanoFlowError`, ``RequestError``.
    init(
        _ body: RequestBody, prompts: [Prompt], logprobCount: Int?, defaultMaxTokens: Int?,
        for service: CompletionService
    ) throws {
        try Self.check(body, promptCount: prompts.count, for: service)
        let prompts = try prompts.map(service.generator.tokens(of:))
        var choices: [Choice] = []
        for prompt in prompts {
            var sampling = body.sampling
            sampling.logprobCount = logprobCount
            let room = service.generator.maxModelLength - prompt.count
            // Without room the limit stays as it is: the engine's refusal names both numbers.
            let fallback = defaultMaxTokens.map { room > 0 ? min($0, room) : $0 }
            sampling.maxTokens = body.maxTokens ?? fallback
            for index in 0..<body.choicesPerPrompt {
                var sampling = sampling
                sampling.seed = body.sampling.seed.map { Self.seed($0, choice: index) }
                choices.append(Choice(prompt: prompt, sampling: sampling))
            }
        }
        self.choices = choices
        choicesPerPrompt = body.choicesPerPrompt
        cacheSalt = body.cacheSalt
        priority = body.priority
        promptTokenCount = prompts.reduce(0) { $0 + $1.count }
        delivery =
            body.isStreamed
            ? .streamed(
                includesUsage: body.includesUsage,
                includesContinuousUsage: body.includesContinuousUsage)
            : .whole
    }

    /// The usage of all choices together; each prompt counts once, as its first choice found it.
    func usage(_ choices: [TokenUsage]) -> UsageBody {
        UsageBody(
            promptTokens: promptTokenCount,
            completionTokens: choices.reduce(0) { $0 + $1.completionTokens },
            cachedPromptTokens: choices.enumerated().reduce(0) { sum, choice in
                sum
                    + (choice.offset % choicesPerPrompt == 0
                        ? choice.element.cachedPromptTokens : 0)
            })
    }

    private static func check(
        _ body: RequestBody, promptCount: Int, for service: CompletionService
    ) throws {
        let served = service.modelName
        if let model = body.model, model != served {
            throw RequestError.unknownModel(model, served: served)
        }
        let limit = service.maxChoices
        guard 1...limit ~= body.choicesPerPrompt else {
            throw NanoFlowError(
                .invalidRequest, field: "n", limit: "1 to \(limit)",
                given: "\(body.choicesPerPrompt)")
        }
        guard promptCount <= limit / body.choicesPerPrompt else {
            throw NanoFlowError(
                .invalidRequest, field: "prompt", limit: "at most \(limit) choices in all",
                given: "\(promptCount) prompts with n = \(body.choicesPerPrompt)")
        }
    }

    /// The first choice keeps the seed, so that n = 1 and the first of many are the same; the
    /// others step by the odd number nearest to 2^64 over the golden ratio.
    private static func seed(_ seed: UInt64, choice: Int) -> UInt64 {
        seed &+ UInt64(choice) &* 0x9E37_79B9_7F4A_7C15
    }
}
