import NanoDevice
import NanoModel
import NanoTokenizer

/// Runs all requests of a workload at once and measures how long that takes.
package struct OfflineRun {
    /// One request's result.
    package struct Answer: Sendable, Hashable {
        package var tokens: [Int] = []
        /// Text without special tokens; a character may end in the next token.
        package var text = ""
        package var finishReason: FinishReason?
    }

    /// What a run has come to.
    package struct Outcome: Sendable {
        /// In the order of the workload.
        package let answers: [Answer]
        /// From the submission to the last token.
        package let seconds: Double
        package let load: TokenLoad
        package let steps: StepCounters.Sums
        package let times: OperationTimes
    }

    private struct TokenRequest: Sendable {
        let prompt: [Int32]
        let outputLength: Int
    }

    private let llm: LLM
    private let requests: [TokenRequest]
    private let sampling: SamplingParameters

    /// Tokens that the run computes at most: the last one of each completion is not fed back.
    package var maxComputedTokens: Int {
        requests.reduce(0) { $0 + $1.prompt.count + $1.outputLength - 1 }
    }

    /// Makes token ids of all prompts and checks that the model has room for them.
    ///
    /// - Parameters:
    ///   - workload: The requests.
    ///   - llm: Runs them; its queue must have room for all.
    ///   - sampling: How tokens are chosen; the seed is each request's index, the limit its length.
    ///   - ignoresEndOfSequence: Whether completions go on to their full length.
    /// - Throws: ``NanoFlowError`` with the number of the request at fault, or the field of the
    ///   sampling.
    package init(
        _ workload: Workload, on llm: LLM,
        sampling: SamplingParameters = SamplingParameters(temperature: 0),
        ignoresEndOfSequence: Bool
    ) throws(NanoFlowError) {
        self.llm = llm
        var sampling = sampling
        sampling.ignoresEndOfSequence = ignoresEndOfSequence
        try sampling.validate(vocabularyCount: llm.engine.model.vocabularyCount)
        self.sampling = sampling
        var source = PromptSource(llm, seed: workload.seed)
        var requests: [TokenRequest] = []
        for (index, request) in workload.requests.enumerated() {
            let prompt = try source.tokens(of: request.prompt, request: index)
            guard request.outputLength <= llm.maxModelLength - prompt.count else {
                throw NanoFlowError(
                    .contextLengthExceeded, field: "request \(index)",
                    limit: "\(llm.maxModelLength) tokens",
                    given: "\(prompt.count) + \(request.outputLength)",
                    message: "Request \(index) has \(prompt.count) prompt tokens and asks for "
                        + "\(request.outputLength): more than the context of "
                        + "\(llm.maxModelLength) tokens.")
            }
            requests.append(TokenRequest(prompt: prompt, outputLength: request.outputLength))
        }
        self.requests = requests
    }

    /// Submits all requests and waits for the last token; all of their tokens are computed, whatever
    /// the cache knows.
    ///
    /// - Throws: ``NanoFlowError`` when the engine refuses them or stops; `CancellationError`.
    package func run() async throws -> Outcome {
        let engine = llm.engine
        let steps = engine.counters.sums
        let times = engine.operationTimes()
        let start = ContinuousClock.now
        let streams = try submit()
        var answers: [Answer] = []
        // One stream after the other: a task that woke for each token would take time from the
        // units. The later streams' events wait meanwhile.
        for stream in streams {
            answers.append(try await Self.answer(stream))
        }
        let seconds = start.duration(to: .now) / .seconds(1)
        var load = TokenLoad()
        for (request, answer) in zip(requests, answers) {
            load.add(promptTokens: request.prompt.count, completionTokens: answer.tokens.count)
        }
        return Outcome(
            answers: answers, seconds: seconds, load: load, steps: engine.counters.sums - steps,
            times: engine.operationTimes() - times)
    }

    private func submit() throws(NanoFlowError) -> [AsyncStream<EngineEvent>] {
        // Of its own each time, so that nothing is found in the cache.
        let name = "offline run \(UInt64.random(in: .min ... .max))"
        var streams: [AsyncStream<EngineEvent>] = []
        var submitted: [EngineRequest] = []
        for (index, request) in requests.enumerated() {
            // Bounded by the completion's length: at most one event a token.
            let (events, continuation) = AsyncStream.makeStream(of: EngineEvent.self)
            streams.append(events)
            var sampling = sampling
            sampling.seed = UInt64(index)
            submitted.append(
                EngineRequest(
                    prompt: request.prompt,
                    sampling: sampling, maxTokens: request.outputLength,
                    cacheSalt: "\(name), request \(index)", events: continuation))
        }
        let inbox = llm.engine.inbox
        let first = try inbox.submit(submitted)
        for (index, request) in submitted.enumerated() {
            request.events.onTermination = { reason in
                if case .cancelled = reason { inbox.abort(first + index) }
            }
        }
        return streams
    }

    private static func answer(_ events: AsyncStream<EngineEvent>) async throws -> Answer {
        var answer = Answer()
        var decoder = ByteDecoder()
        for await event in events {
            switch event {
            case .token(let token, let certain):
                answer.tokens.append(token.id)
                answer.text += decoder.append(certain)
            case .finished(let ending):
                answer.text += decoder.append(ending.rest) + decoder.finish()
                answer.finishReason = ending.reason
            case .failed(let error):
                throw error
            case .prompt:
                break
            }
        }
        switch answer.finishReason {
        case nil: throw CancellationError()
        case .abort: throw NanoFlowError.engineStopped
        case .stop, .length: return answer
        }
    }
}

/// Gives token ids for the prompts of a workload.
private struct PromptSource {
    private let llm: LLM
    private var generator: SplitMix64
    /// The ids that random prompts are drawn from: all but special tokens.
    private lazy var ordinaryTokens: [Int] = {
        let tokenizer = llm.engine.tokenizer
        return (0..<tokenizer.vocabularyCount).filter { !tokenizer.isSpecial($0) }
    }()

    init(_ llm: LLM, seed: UInt64) {
        self.llm = llm
        generator = SplitMix64(seed: seed)
    }

    mutating func tokens(
        of prompt: Workload.Prompt, request index: Int
    ) throws(NanoFlowError) -> [Int32] {
        do {
            switch prompt {
            case .tokens(let ids):
                return try llm.tokens(of: .tokens(ids)).map(Int32.init)
            case .text(let text):
                return try llm.tokens(of: .text(text)).map(Int32.init)
            case .random(let count):
                return try random(count)
            }
        } catch let error as NanoFlowError {
            throw NanoFlowError(
                error.code, field: "request \(index): \(error.field)", limit: error.limit,
                given: error.given, message: "Request \(index): \(error)")
        } catch {
            preconditionFailure("Prompts are refused with one kind of error: \(error)")
        }
    }

    private mutating func random(_ count: Int) throws(NanoFlowError) -> [Int32] {
        // Before the drawing: a length may be any number.
        guard count < llm.maxModelLength else {
            throw NanoFlowError(
                .contextLengthExceeded, field: "prompt",
                limit: "fewer than \(llm.maxModelLength) tokens", given: "\(count)")
        }
        let tokens = ordinaryTokens
        return (0..<count).map { _ in
            Int32(tokens[Int.random(in: 0..<tokens.count, using: &generator)])
        }
    }
}
