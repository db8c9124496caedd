import NanoDevice
import NanoModel
import NanoTokenizer

/// A model, loaded and ready: text in, text out.
///
/// The server and the command line stand on this same door. Text exists on this side of it only;
/// the engine behind it takes token ids and gives token ids.
public final class LLM: Sendable {
    /// The model's name, as its file gives it.
    public let modelName: String
    /// Tokens that prompt and completion may have together.
    public let maxModelLength: Int
    package let engine: Engine

    /// Loads a GGUF file and starts the engine.
    ///
    /// - Parameters:
    ///   - path: The GGUF file.
    ///   - configuration: Precision, threads, memory and limits.
    ///   - progress: Called with what is being done and how far it is, 0...1.
    /// - Throws: ``NanoFlowError``.
    public convenience init(
        model path: String, configuration: EngineConfiguration = EngineConfiguration(),
        progress: (@Sendable (String, Double) -> Void)? = nil
    ) async throws {
        try await self.init(
            model: path, configuration: configuration, makePlans: nil,
            progress: progress ?? { _, _ in })
    }

    /// As above, with plans that are chosen when the model is loaded.
    ///
    /// - Throws: ``NanoFlowError``.
    package convenience init(
        model path: String, configuration: EngineConfiguration, makePlans: PlanMaker?,
        progress: @escaping @Sendable (String, Double) -> Void
    ) async throws {
        try await self.init(
            configuration: configuration, makePlans: makePlans, progress: progress
        ) {
            progress("opening \(path)", 0)
            return try ModelSource(path)
        }
    }

    /// Loads what `source` opens and starts the engine.
    ///
    /// - Throws: ``NanoFlowError``.
    package init(
        configuration: EngineConfiguration, makePlans: PlanMaker? = nil,
        progress: @escaping @Sendable (String, Double) -> Void,
        source: @escaping @Sendable () throws -> ModelSource
    ) async throws {
        engine = try await onThread("nano-load") {
            try Engine(
                source(), configuration: configuration, makePlans: makePlans, progress: progress)
        }
        modelName = engine.model.name
        maxModelLength = engine.settings.limits.sequenceLength
    }

    /// Starts a completion; its events arrive as they are computed.
    ///
    /// Dropping the stream aborts it.
    /// - Parameters:
    ///   - prompt: What is continued.
    ///   - sampling: How tokens are chosen, and how many.
    ///   - cacheSalt: Requests use each other's cached keys and values where they have the same salt,
    ///     or none; results are the same.
    ///   - priority: -100...100. Requests of lower values go first, each of them by age too: a step of
    ///     1 is worth 256 steps of the engine.
    ///   - tenant: Requests of different numbers share the machine's time fairly: who asks for more than
    ///     its share waits longer. nil: in the order of arrival.
    /// - Returns: A `.prompt` event where the prompt's log-probabilities are asked for, a `.token` event a
    ///   token, then one `.finished`.
    /// - Throws: ``NanoFlowError`` for a bad prompt or parameter, a full queue, a stopped engine.
    @inline(never)  // Inlined into `generate`, it crashes the compiler (Swift 6.3.1).
    public func stream(
        _ prompt: Prompt, sampling: SamplingParameters = SamplingParameters(),
        cacheSalt: String? = nil, priority: Int = 0, tenant: Int? = nil
    ) throws -> AsyncThrowingStream<GenerationEvent, any Error> {
        let streams = try streams(
            [(tokens(of: prompt), sampling)], cacheSalt: cacheSalt, priority: priority,
            tenant: tenant)
        return streams[0]
    }

    /// Starts several completions, or none of them; as ``stream(_:sampling:cacheSalt:priority:tenant:)``.
    ///
    /// - Throws: ``NanoFlowError``.
    package func streams(
        _ choices: [(prompt: [Int], sampling: SamplingParameters)], cacheSalt: String?,
        priority: Int, tenant: Int?
    ) throws -> [AsyncThrowingStream<GenerationEvent, any Error>] {
        guard EngineRequest.priorities.contains(priority) else {
            throw NanoFlowError(
                .invalidRequest, field: "priority",
                limit: "\(EngineRequest.priorities.lowerBound) to "
                    + "\(EngineRequest.priorities.upperBound)",
                given: "\(priority)")
        }
        var streams: [AsyncThrowingStream<GenerationEvent, any Error>] = []
        var requests: [EngineRequest] = []
        for (tokens, sampling) in choices {
            try check(tokens)
            try sampling.validate(vocabularyCount: engine.model.vocabularyCount)
            let maxTokens = try maxTokens(sampling, promptCount: tokens.count)
            // Bounded by the completion's length: at most one event a token.
            let (events, continuation) = AsyncStream.makeStream(of: EngineEvent.self)
            requests.append(
                EngineRequest(
                    prompt: tokens.map(Int32.init), sampling: sampling, maxTokens: maxTokens,
                    cacheSalt: cacheSalt, priority: priority, tenant: tenant,
                    events: continuation))
            let text = CompletionText(promptCount: tokens.count, events: events)
            streams.append(AsyncThrowingStream(unfolding: text.next))
        }
        try submit(requests)
        return streams
    }

    /// Waits for a whole completion.
    ///
    /// - Throws: ``NanoFlowError`` as ``stream(_:sampling:)``, or `CancellationError`.
    public func generate(
        _ prompt: Prompt, sampling: SamplingParameters = SamplingParameters()
    ) async throws -> Completion {
        var text = ""
        var tokens: [GeneratedToken] = []
        let events = try stream(prompt, sampling: sampling)
        for try await event in events {
            switch event {
            case .prompt: break
            case .token(let token, let piece):
                tokens.append(token)
                text += piece
            case .finished(let end):
                return Completion(
                    text: text + end.text, tokens: tokens, finishReason: end.reason,
                    usage: end.usage)
            }
        }
        throw CancellationError()
    }

    /// The log-probability of each token but the first, under the model, given those before it.
    package func score(_ tokens: [Int]) async throws -> [Float] {
        try check(tokens)
        guard tokens.count > 1 else { return [] }
        var sampling = SamplingParameters(temperature: 0)
        sampling.promptLogprobCount = 0
        let (events, continuation) = AsyncStream.makeStream(of: EngineEvent.self)
        try submit([
            EngineRequest(
                prompt: tokens.map(Int32.init), sampling: sampling, maxTokens: 0,
                events: continuation)
        ])
        for await event in events {
            guard case .prompt(let scored) = event else { continue }
            return scored.dropFirst().map { Float($0.logprob ?? .nan) }
        }
        throw CancellationError()
    }

    /// Requests submitted and not finished.
    package var runningRequestCount: Int { engine.inbox.unfinishedCount }

    /// The engine as it was after its last step.
    package var status: EngineStatus { engine.status }

    /// Ids that tokens have.
    package var vocabularyCount: Int { engine.model.vocabularyCount }

    /// The bytes of one token, empty for special tokens.
    package func bytes(of token: Int) -> [UInt8] { engine.tokenizer.textBytes(of: token) }

    /// The bytes of one token; of a special token, those that it is written with.
    package func spelling(of token: Int) -> [UInt8] {
        Array(engine.tokenizer.bytes(of: token))
    }

    /// Ends the streams in flight with `.abort`, stops the engine and frees its memory.
    public func shutdown() async {
        let engine = engine
        try? await onThread("nano-shutdown") { engine.stop() }
    }

    // MARK: - Prompts

    /// The token ids of a prompt, as the engine would take them.
    ///
    /// - Throws: ``NanoFlowError`` when the prompt is empty, too long or of unknown tokens, and
    ///   when the chat template refuses the messages.
    package func tokens(of prompt: Prompt) throws -> [Int] {
        let tokens = try uncheckedTokens(of: prompt)
        try check(tokens)
        return tokens
    }

    /// The token ids of a prompt, however many they are.
    ///
    /// - Throws: ``NanoFlowError`` when the chat template refuses the messages.
    package func uncheckedTokens(
        of prompt: Prompt, addsSpecialTokens: Bool = true
    ) throws -> [Int] {
        switch prompt {
        case .text(let text):
            engine.tokenizer.encode(
                text, addSpecialTokens: addsSpecialTokens, parseSpecialTokens: true)
        case .tokens(let given):
            given
        case .chat(let messages):
            engine.tokenizer.encode(try render(messages), parseSpecialTokens: true)
        }
    }

    private func check(_ tokens: [Int]) throws(NanoFlowError) {
        guard !tokens.isEmpty else {
            throw NanoFlowError(
                .invalidRequest, field: "prompt", limit: "at least one token", given: "none")
        }
        guard tokens.count < maxModelLength else {
            throw NanoFlowError(
                .contextLengthExceeded, field: "prompt", limit: "\(maxModelLength)",
                given: "\(tokens.count)",
                message: "The prompt has \(tokens.count) tokens; the context is "
                    + "\(maxModelLength) tokens, one of them at least for the completion.")
        }
        let count = engine.model.vocabularyCount
        if let unknown = tokens.first(where: { $0 < 0 || $0 >= count }) {
            throw NanoFlowError(
                .invalidRequest, field: "prompt", limit: "token ids from 0 to \(count - 1)",
                given: "\(unknown)")
        }
    }

    private func maxTokens(
        _ sampling: SamplingParameters, promptCount: Int
    ) throws(NanoFlowError) -> Int {
        let room = maxModelLength - promptCount
        guard let asked = sampling.maxTokens else { return room }
        guard asked <= room else {
            throw NanoFlowError(
                .contextLengthExceeded, field: "max_tokens", limit: "\(room)", given: "\(asked)",
                message: "The prompt has \(promptCount) tokens and max_tokens is \(asked): "
                    + "together more than the context of \(maxModelLength) tokens.")
        }
        return asked
    }

    private func render(_ messages: [ChatMessage]) throws(NanoFlowError) -> String {
        guard let template = engine.chatTemplate else {
            throw NanoFlowError(
                .invalidRequest, field: "messages",
                message: "The model's file has no chat template; use a plain prompt.")
        }
        let spelling = { (token: Int?) -> TemplateValue in
            guard let token else { return .undefined }
            return .string(String(decoding: self.engine.tokenizer.bytes(of: token), as: UTF8.self))
        }
        do {
            return try template.render([
                "messages": .list(
                    messages.map {
                        ["role": .string($0.role), "content": .string($0.content)]
                    }),
                "add_generation_prompt": true,
                "bos_token": spelling(engine.tokenizer.beginningOfSequence),
                "eos_token": spelling(engine.tokenizer.endOfSequence),
            ])
        } catch {
            throw NanoFlowError(.invalidRequest, field: "messages", message: "\(error)")
        }
    }

    /// Submits all or none; each is aborted when its events are dropped.
    private func submit(_ requests: [EngineRequest]) throws(NanoFlowError) {
        let inbox = engine.inbox
        let first = try inbox.submit(requests)
        for (index, request) in requests.enumerated() {
            request.events.onTermination = { reason in
                if case .cancelled = reason { inbox.abort(first + index) }
            }
        }
    }
}

/// Turns the engine's events into text: whole characters only.
private final class CompletionText: Sendable {
    private let promptCount: Int
    private nonisolated(unsafe) var iterator: AsyncStream<EngineEvent>.Iterator
    private nonisolated(unsafe) var decoder = ByteDecoder()

    init(promptCount: Int, events: AsyncStream<EngineEvent>) {
        self.promptCount = promptCount
        iterator = events.makeAsyncIterator()
    }

    /// The next event; an `AsyncThrowingStream` asks for one at a time.
    @Sendable func next() async throws -> GenerationEvent? {
        switch await iterator.next() {
        case .prompt(let tokens):
            return .prompt(tokens)
        case .token(let token, let certain):
            return .token(token, text: decoder.append(certain))
        case .finished(let ending):
            return .finished(
                CompletionEnd(
                    reason: ending.reason, stop: ending.stop,
                    text: decoder.append(ending.rest) + decoder.finish(),
                    usage: TokenUsage(
                        promptTokens: promptCount, completionTokens: ending.completionTokens,
                        cachedPromptTokens: ending.cachedPromptTokens),
                    timings: ending.timings))
        case .failed(let error):
            throw error
        case nil:
            return nil
        }
    }
}

/// Runs blocking work on a thread of its own, so that no thread of Swift's concurrency waits.
private func onThread<Value: Sendable>(
    _ name: String, _ body: @escaping @Sendable () throws -> Value
) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        ServiceThread(name: name) { continuation.resume(with: Result { try body() }) }.detach()
    }
}
