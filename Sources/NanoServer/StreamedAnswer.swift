import NIOCore
import NanoFlow

/// An answer sent token by token.
struct StreamedAnswer<Format: AnswerFormat>: Sendable {
    /// What has been sent of one choice.
    private struct Progress {
        var usage: TokenUsage
        var scalarCount = 0
    }

    let answer: Answer<Format>
    let includesUsage: Bool
    let includesContinuousUsage: Bool

    /// Sends every event when it happens; an error after the first byte becomes an event too.
    ///
    /// - Throws: When the client has gone.
    func send(
        _ streams: [AsyncThrowingStream<GenerationEvent, any Error>], on channel: any Channel,
        to events: inout ServerSentEvents
    ) async throws {
        let choices = answer.request.choices.indices
        for opening in choices.compactMap(answer.format.opening) {
            try await events.send(chunk([opening], usage: nil))
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
                try await events.send(chunk([], usage: usage))
            }
        } catch let error where !(error is CancellationError) {
            // Where it was the writing that failed, this fails in the same way.
            try await events.send(ErrorResponse(error))
        }
        try await events.sendDone()
    }

    private func send(
        _ event: ChoiceEvent, _ progress: inout Progress, to events: inout ServerSentEvents
    ) async throws {
        let choice = answer.request.choices[event.index]
        var part = AnswerPart(offset: progress.scalarCount)
        switch event.event {
        case .token(let token, let text):
            progress.usage = TokenUsage(
                promptTokens: progress.usage.promptTokens,
                completionTokens: progress.usage.completionTokens + 1)
            part.text = text
            if choice.sampling.logprobCount != nil {
                part.tokens = [token]
                progress.scalarCount += displayText(token.bytes).unicodeScalars.count
            } else if text.isEmpty {
                return
            }
        case .finished(let reason, let text, let usage):
            progress.usage = usage
            part.text = text
            part.finishReason = reason
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

    private func chunk(
        _ choices: [Format.ChunkChoice], usage: UsageBody?
    ) -> Envelope<Format.ChunkChoice> {
        let isLeftOut = usage == nil && !includesUsage
        return answer.envelope(
            Format.chunkObject, choices, usage: isLeftOut ? nil : ExplicitNull(wrappedValue: usage))
    }
}
