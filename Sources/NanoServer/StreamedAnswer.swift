import NIOCore
import NanoFlow

/// An answer sent token by token.
struct StreamedAnswer<Format: AnswerFormat>: Sendable {
    /// What has been sent of one choice.
    private struct Progress {
        var tokenCount = 0
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
            var progress = choices.map { _ in Progress() }
            var completionTokenCount = 0
            try await forEachEvent(of: streams, on: channel) { event in
                try await send(event, &progress[event.index], to: &events)
                if case .finished(_, _, let usage) = event.event {
                    completionTokenCount += usage.completionTokens
                }
            }
            if includesUsage {
                let usage = UsageBody(
                    promptTokens: answer.request.promptTokenCount,
                    completionTokens: completionTokenCount)
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
            progress.tokenCount += 1
            part.text = text
            if choice.sampling.logprobCount != nil {
                part.tokens = [token]
                progress.scalarCount += displayText(token.bytes).unicodeScalars.count
            } else if text.isEmpty {
                return
            }
        case .finished(let reason, let text, let usage):
            progress.tokenCount = usage.completionTokens
            part.text = text
            part.finishReason = reason
        }
        let usage = UsageBody(
            promptTokens: choice.prompt.count, completionTokens: progress.tokenCount)
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
