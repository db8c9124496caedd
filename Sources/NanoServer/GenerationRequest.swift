import NanoFlow

/// A request that has passed the border: everything in it is in range, but for what only the
/// engine can judge (it does when the streams start).
struct GenerationRequest: Sendable {
    /// One text to generate.
    struct Choice: Sendable {
        let prompt: [Int]
        /// What stands before the completion; nil: nothing does.
        let echo: String?
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
    let choicesPerPrompt: Int
    /// Keeps what is cached to requests with the same salt; nil: to all without one.
    let cacheSalt: String?
    let priority: Int
    /// Whose time it takes, where keys share it.
    let tenant: Int?
    /// A name that the client has given it.
    let id: String?
    let returnsTokenIDs: Bool
    /// How many alternatives a token of the prompt gets; nil: the answer does not have them.
    let promptLogprobCount: Int?
    let delivery: Delivery

    /// Checks and tokenizes.
    ///
    /// `logprobCount` comes apart from the body because the two endpoints spell it differently.
    /// `defaultMaxTokens` holds where the body gives none; nil is what the context leaves.
    ///
    /// - Throws: `NanoFlowError`, ``RequestError``.
    init(
        _ body: RequestBody, prompts: [Prompt], logprobCount: Int?, echoes: Bool = false,
        defaultMaxTokens: Int?, from client: Client, for service: CompletionService
    ) throws {
        try Self.check(body, promptCount: prompts.count, for: service)
        if client.tenant != nil, body.priority != 0 {
            throw NanoFlowError(
                .invalidRequest, field: "priority", limit: "0 where several keys share the server",
                given: "\(body.priority)")
        }
        var choices: [Choice] = []
        var promptTokenCount = 0
        for given in prompts {
            let prompt = try Self.tokens(
                of: given, keeping: body.truncatedPromptTokens,
                addsSpecialTokens: body.addsSpecialTokens, service.generator)
            promptTokenCount += prompt.count
            let echo = echoes ? Self.text(of: given, prompt, service.generator) : nil
            var sampling = body.sampling
            sampling.logprobCount = logprobCount
            if echoes, logprobCount != nil || body.maxTokens == 0 {
                sampling.promptLogprobCount = max(
                    logprobCount ?? 0, sampling.promptLogprobCount ?? 0)
            }
            let room = service.generator.maxModelLength - prompt.count
            // Without room the limit stays as it is: the engine's refusal names both numbers.
            let fallback = defaultMaxTokens.map { room > 0 ? min($0, room) : $0 }
            sampling.maxTokens = body.maxTokens ?? fallback
            for index in 0..<body.choicesPerPrompt {
                var sampling = sampling
                sampling.seed = body.sampling.seed.map { Self.seed($0, choice: index) }
                choices.append(Choice(prompt: prompt, echo: echo, sampling: sampling))
            }
        }
        try Self.checkScores(choices)
        self.choices = choices
        self.promptTokenCount = promptTokenCount
        tenant = client.tenant
        id = client.requestID ?? body.requestID
        returnsTokenIDs = body.returnsTokenIDs
        promptLogprobCount = body.sampling.promptLogprobCount
        choicesPerPrompt = body.choicesPerPrompt
        cacheSalt = body.cacheSalt
        priority = body.priority
        delivery =
            body.isStreamed
            ? .streamed(
                includesUsage: body.includesUsage,
                includesContinuousUsage: body.includesContinuousUsage)
            : .whole
    }

    /// Log-probabilities of a prompt are kept until the answer is whole, and spelled out in it.
    private static let maxScoredTokens = 1 << 16

    private static func checkScores(_ choices: [Choice]) throws(NanoFlowError) {
        let count = choices.reduce(0) { sum, choice in
            sum + (choice.sampling.promptLogprobCount == nil ? 0 : choice.prompt.count)
        }
        guard count <= maxScoredTokens else {
            throw NanoFlowError(
                .invalidRequest, field: "prompt_logprobs",
                limit: "at most \(maxScoredTokens) tokens of prompts in all choices",
                given: "\(count)")
        }
    }

    private static func tokens(
        of prompt: Prompt, keeping kept: Int?, addsSpecialTokens: Bool,
        _ generator: any TextGenerator
    ) throws -> [Int] {
        let tokens = try generator.uncheckedTokens(
            of: prompt, addsSpecialTokens: addsSpecialTokens)
        guard let kept else { return try generator.tokens(of: .tokens(tokens)) }
        let room = generator.maxModelLength - 1
        return try generator.tokens(of: .tokens(tokens.suffix(kept == -1 ? room : kept)))
    }

    /// The prompt as it was given, or as its tokens spell it.
    private static func text(
        of prompt: Prompt, _ tokens: [Int], _ generator: any TextGenerator
    ) -> String {
        if case .text(let text) = prompt { return text }
        return displayText(tokens.flatMap(generator.spelling(of:)))
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
        try service.check(model: body.model)
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
