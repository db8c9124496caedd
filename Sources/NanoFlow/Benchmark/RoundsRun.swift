import NanoTokenizer

/// A conversation to be replayed.
package enum Conversation: Sendable {
    /// Questions; the history of each holds the engine's own answers, as text through the chat
    /// template.
    case dialogue([Dialogues.Round])
    /// Prompts as they are; no answer is part of them.
    case session([MooncakeTrace.Round])

    package var roundCount: Int {
        switch self {
        case .dialogue(let rounds): rounds.count
        case .session(let rounds): rounds.count
        }
    }
}

/// Replays conversations, each round when the one before it has been answered.
///
/// The last round of each stands apart: those before it can be served many at a time, to measure
/// throughput and to fill a cache, and the last ones one at a time, for the time to the first token.
package struct RoundsRun: Sendable {
    /// One round as it was served.
    package struct Served: Sendable, Hashable {
        package let promptTokens: Int
        package let cachedTokens: Int
        package let completionTokens: Int
        /// From the request to the first token.
        package let firstTokenSeconds: Double
        /// The answer's token ids, and its text.
        package let answer: [Int]
        let text: String
    }

    /// Which keys and values of the cache a pass may use.
    package enum Salt: Sendable, Hashable {
        /// Those of the rounds that were served under the same name.
        case shared(String)
        /// None: each round has a salt of its own.
        case perRound(String)

        fileprivate func text(conversation: Int, round: Int) -> String {
            switch self {
            case .shared(let name): name
            case .perRound(let name): "\(name), conversation \(conversation), round \(round)"
            }
        }
    }

    /// Tokens of an answer, at most.
    package static let maxAnswerTokens = 128

    private let conversations: [Conversation]

    package init(_ conversations: [Conversation]) { self.conversations = conversations }

    package var conversationCount: Int { conversations.count }

    /// Rounds of all conversations.
    package var roundCount: Int { conversations.reduce(0) { $0 + $1.roundCount } }

    /// Serves the rounds before the last of all conversations, so many conversations at a time.
    ///
    /// A conversation ends early where its next round has no room in the context.
    /// - Parameters:
    ///   - llm: Serves them.
    ///   - concurrency: Conversations at a time.
    ///   - salt: What may be used again; results are the same.
    ///   - progress: Told of each round that is done.
    /// - Returns: The rounds by conversation.
    /// - Throws: ``NanoFlowError``, `CancellationError`.
    package func serveHistories(
        on llm: LLM, concurrency: Int, salt: Salt, progress: @escaping @Sendable () -> Void
    ) async throws -> [[Served]] {
        try await withThrowingTaskGroup(of: (Int, [Served]).self) { group in
            var results = [[Served]](repeating: [], count: conversations.count)
            var next = 0
            func begin() {
                guard next < conversations.count else { return }
                let index = next
                next += 1
                group.addTask {
                    (index, try await serveHistory(index, on: llm, salt: salt, progress))
                }
            }
            for _ in 0..<concurrency { begin() }
            for try await (index, served) in group {
                results[index] = served
                begin()
            }
            return results
        }
    }

    private func serveHistory(
        _ index: Int, on llm: LLM, salt: Salt, _ progress: @Sendable () -> Void
    ) async throws -> [Served] {
        let conversation = conversations[index]
        var served: [Served] = []
        for round in 0..<max(0, conversation.roundCount - 1) {
            guard
                let request = try conversation.request(
                    round: round, after: served.map(\.text), on: llm)
            else { break }
            served.append(
                try await Self.serve(
                    request, on: llm, salt: salt.text(conversation: index, round: round)))
            progress()
        }
        return served
    }

    /// Serves the last round of each conversation, one after the other, up to its first token.
    ///
    /// - Parameters:
    ///   - llm: Serves them.
    ///   - histories: The rounds before, as ``serveHistories(on:concurrency:salt:progress:)`` returned
    ///     them.
    ///   - salt: What may be used again.
    ///   - progress: Told of each conversation that is done.
    /// - Returns: One round a conversation; none where one before it was left out, or where it has no
    ///   room in the context.
    /// - Throws: ``NanoFlowError``, `CancellationError`.
    package func serveLast(
        on llm: LLM, after histories: [[Served]], salt: Salt, progress: @Sendable () -> Void
    ) async throws -> [[Served]] {
        var results: [[Served]] = []
        for (index, conversation) in conversations.enumerated() {
            let round = conversation.roundCount - 1
            var served: [Served] = []
            if histories[index].count == round,
                var request = try conversation.request(
                    round: round, after: histories[index].map(\.text), on: llm)
            {
                request.maxTokens = 1
                served.append(
                    try await Self.serve(
                        request, on: llm, salt: salt.text(conversation: index, round: round)))
            }
            results.append(served)
            progress()
        }
        return results
    }

    private static func serve(
        _ request: RoundRequest, on llm: LLM, salt: String
    ) async throws -> Served {
        let sampling = SamplingParameters(
            temperature: 0, maxTokens: request.maxTokens,
            ignoresEndOfSequence: request.ignoresEndOfSequence)
        var answer: [Int] = []
        var text = ""
        var first: Double?
        let start = ContinuousClock.now
        let stream = try llm.stream(.tokens(request.prompt), sampling: sampling, cacheSalt: salt)
        for try await event in stream {
            let firstSeconds = first ?? start.duration(to: .now) / .seconds(1)
            first = firstSeconds
            switch event {
            case .token(let token, let piece):
                answer.append(token.id)
                text += piece
            case .finished(let end):
                guard end.reason != .abort else { throw NanoFlowError.engineStopped }
                return Served(
                    promptTokens: end.usage.promptTokens,
                    cachedTokens: end.usage.cachedPromptTokens,
                    completionTokens: end.usage.completionTokens,
                    firstTokenSeconds: firstSeconds, answer: answer, text: text + end.text)
            case .prompt: break
            }
        }
        throw CancellationError()
    }
}

/// What the engine is asked for in one round.
private struct RoundRequest {
    let prompt: [Int]
    var maxTokens: Int
    let ignoresEndOfSequence: Bool
}

extension Conversation {
    /// The request of a round, after the engine's answers to those before; nil where it has no room
    /// in the context.
    fileprivate func request(
        round: Int, after answers: [String], on llm: LLM
    ) throws -> RoundRequest? {
        let request: RoundRequest
        switch self {
        case .dialogue(let rounds):
            guard let prompt = try Self.prompt(rounds[...round], answers, on: llm) else {
                return nil
            }
            let recorded = llm.engine.tokenizer.encode(
                rounds[round].answer, parseSpecialTokens: false
            ).count
            request = RoundRequest(
                prompt: prompt, maxTokens: min(max(1, recorded), RoundsRun.maxAnswerTokens),
                ignoresEndOfSequence: false)
        case .session(let rounds):
            request = RoundRequest(
                prompt: rounds[round].prompt, maxTokens: rounds[round].answerTokens,
                ignoresEndOfSequence: true)
        }
        return request.prompt.count + request.maxTokens <= llm.maxModelLength ? request : nil
    }

    /// The questions with the answers between them; nil where they are longer than the context.
    private static func prompt(
        _ rounds: ArraySlice<Dialogues.Round>, _ answers: [String], on llm: LLM
    ) throws -> [Int]? {
        var messages: [ChatMessage] = []
        for (index, round) in rounds.enumerated() {
            messages.append(ChatMessage(role: "user", content: round.question))
            if index < answers.count {
                messages.append(ChatMessage(role: "assistant", content: answers[index]))
            }
        }
        do {
            return try llm.tokens(of: .chat(messages))
        } catch let error as NanoFlowError where error.code == .contextLengthExceeded {
            return nil
        }
    }
}
