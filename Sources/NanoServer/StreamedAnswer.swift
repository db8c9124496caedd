import NIOCore
import NanoFlow

/// An answer sent token by token.
struct StreamedAnswer<Format: AnswerFormat>: Sendable {
    /// What has been sent of one choice.
    private struct Progress {
        var usage: TokenUsage
        var scalarCount = 0
        var end: CompletionEnd?
    }

    let answer: Answer<Format>
    let includesUsage: Bool
    let includesContinuousUsage: Bool
    let counters: RequestCounters

    /// Sends every event when it happens; an error after the first byte becomes an event too.
    ///
    /// - Throws: When the client has gone.
    func send(
        _ streams: [AsyncThrowingStream<GenerationEvent, any Error>], on channel: any Channel,
        to events: inout ServerSentEvents
    ) async throws {
        for (index, choice) in answer.request.choices.enumerated() {
            guard let opening = answer.format.opening(index, choice) else { continue }
            let usage = UsageBody(
                promptTokens: choice.prompt.count, completionTokens: 0, cachedPromptTokens: 0)
            var chunk = chunk([opening], usage: includesContinuousUsage ? usage : nil)
            chunk.promptTokenIDs = answer.chatDetails?.promptTokenIDs(choice)
            try await events.send(chunk)
        }
        do {
            var progress = answer.request.choices.map { choice in
                Progress(
                    usage: TokenUsage(promptTokens: choice.prompt.count, completionTokens: 0))
            }
            try await forEachEvent(of: streams, on: channel) { event in
                try await send(event, &progress[event.index], to: &events)
            }
            if includesUsage {
                let usage = answer.request.usage(progress.map(\.usage))
                var last = chunk([], usage: usage)
                last.metrics = TimingsBody(progress.compactMap(\.end))
                try await events.send(last)
            }
        } catch let error where !(error is CancellationError) {
            // Where it was the writing that failed, this fails in the same way, and nobody was refused.
            let error = ErrorResponse(error)
            try await events.send(error)
            counters.countRejection(error.error.code)
        }
        try await events.sendDone()
    }

    private func send(
        _ event: ChoiceEvent, _ progress: inout Progress, to events: inout ServerSentEvents
    ) async throws {
        let choice = answer.request.choices[event.index]
        var part = AnswerPart(offset: progress.scalarCount)
        switch event.event {
        case .prompt(let tokens):
            guard let echo = choice.echo else { return }
            part.text = echo
            part.prompt = tokens
            progress.scalarCount += tokens.reduce(0) { $0 + scalarCount($1.id) }
        case .token(let token, let text):
            progress.usage = TokenUsage(
                promptTokens: progress.usage.promptTokens,
                completionTokens: progress.usage.completionTokens + 1)
            part.text = text
            if choice.sampling.logprobCount != nil {
                part.tokens = [token]
                progress.scalarCount += scalarCount(token.id)
            } else if text.isEmpty, !answer.request.returnsTokenIDs {
                return
            }
            if answer.request.returnsTokenIDs { part.tokens = [token] }
        case .finished(let end):
            progress.usage = end.usage
            progress.end = end
            part.text = end.text
            part.end = end
        }
        let usage = UsageBody(
            promptTokens: progress.usage.promptTokens,
            completionTokens: progress.usage.completionTokens,
            cachedPromptTokens: progress.usage.cachedPromptTokens)
        try await events.send(
            chunk(
                [answer.format.chunk(event.index, part)],
                usage: includesContinuousUsage ? usage : nil))
    }

    private func scalarCount(_ token: Int) -> Int {
        answer.format.details.text(of: token).unicodeScalars.count
    }

    private func chunk(
        _ choices: [Format.ChunkChoice], usage: UsageBody?
    ) -> Envelope<Format.ChunkChoice> {
        let isLeftOut = usage == nil && !includesUsage
        return answer.envelope(
            Format.chunkObject, choices, usage: isLeftOut ? nil : ExplicitNull(wrappedValue: usage))
    }
}
