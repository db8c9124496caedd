import NanoTokenizer

/// Replays conversations round by round, each with the engine's own answers as its history.
package struct RoundsRun: Sendable {
    /// One round as it was served.
    package struct Served: Sendable, Hashable {
        package let promptTokens: Int
        package let cachedTokens: Int
        package let completionTokens: Int
        /// From the request to the first token.
        package let firstTokenSeconds: Double
    }

    /// Whether rounds use what earlier ones have left in the cache.
    package enum Reuse: Sendable, Hashable {
        case none
        case all
    }

    /// Tokens of an answer, at most.
    package static let maxAnswerTokens = 128

    private let llm: LLM
    private let dialogues: [[Dialogues.Round]]

    package init(_ dialogues: [[Dialogues.Round]], on llm: LLM) {
        (self.dialogues, self.llm) = (dialogues, llm)
    }

    /// Rounds of all dialogues.
    package var roundCount: Int { dialogues.reduce(0) { $0 + $1.count } }

    /// Serves all dialogues, so many at a time, each round when the one before has been answered.
    ///
    /// A dialogue ends early where its next round has no room in the context.
    /// - Parameters:
    ///   - concurrency: Dialogues at a time.
    ///   - reuse: Whether the cache is used; results are the same.
    ///   - pass: Keeps the cache of different passes apart.
    ///   - progress: Told of each round that is done.
    /// - Returns: The rounds by dialogue.
    /// - Throws: ``NanoFlowError``, `CancellationError`.
    package func run(
        concurrency: Int, reuse: Reuse, pass: String,
        progress: @escaping @Sendable () -> Void
    ) async throws -> [[Served]] {
        try await withThrowingTaskGroup(of: (Int, [Served]).self) { group in
            var results = [[Served]](repeating: [], count: dialogues.count)
            var next = 0
            func begin() {
                guard next < dialogues.count else { return }
                let index = next
                next += 1
                group.addTask {
                    let served = try await serve(
                        dialogues[index], reuse: reuse, salt: "\(pass), dialogue \(index)",
                        progress)
                    return (index, served)
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

    private func serve(
        _ rounds: [Dialogues.Round], reuse: Reuse, salt: String, _ progress: @Sendable () -> Void
    ) async throws -> [Served] {
        var messages: [ChatMessage] = []
        var served: [Served] = []
        for (index, round) in rounds.enumerated() {
            messages.append(ChatMessage(role: "user", content: round.question))
            let prompt = try llm.tokens(of: .chat(messages))
            let answerTokens = llm.engine.tokenizer.encode(
                round.answer, parseSpecialTokens: false
            ).count
            let maxTokens = min(max(1, answerTokens), Self.maxAnswerTokens)
            guard prompt.count + maxTokens <= llm.maxModelLength else { break }
            let sampling = SamplingParameters(
                temperature: 0, maxTokens: maxTokens, ignoresEndOfSequence: false)
            let start = ContinuousClock.now
            // A salt of its own keeps a round from everything that came before it.
            let stream = try llm.stream(
                .tokens(prompt), sampling: sampling,
                cacheSalt: reuse == .all ? salt : "\(salt), round \(index)")
            var text = ""
            var first: Double?
            var usage: TokenUsage?
            for try await event in stream {
                switch event {
                case .token(_, let piece):
                    first = first ?? start.duration(to: .now) / .seconds(1)
                    text += piece
                case .finished(_, let rest, let counts):
                    text += rest
                    usage = counts
                }
            }
            guard let usage, let first else { throw CancellationError() }
            messages.append(ChatMessage(role: "assistant", content: text))
            served.append(
                Served(
                    promptTokens: usage.promptTokens, cachedTokens: usage.cachedPromptTokens,
                    completionTokens: usage.completionTokens, firstTokenSeconds: first))
            progress()
        }
        return served
    }
}
