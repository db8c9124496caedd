import Foundation
import Hummingbird
import NIOCore
import NanoFlow

/// Answers completion requests of either shape.
struct CompletionService: Sendable {
    let generator: any TextGenerator
    let modelName: String
    let maxChoices: Int

    /// - Throws: `NanoFlowError`, ``RequestError``; `CancellationError` when the client has gone.
    func chat(_ body: ChatBody, on channel: any Channel) async throws -> Response {
        let request = try GenerationRequest(
            body.shared, prompts: [.chat(body.messages)], logprobCount: body.logprobCount,
            defaultMaxTokens: nil, for: self)
        let format = ChatFormat(tokenBytes: body.logprobCount.map { _ in generator.bytes(of:) })
        return try await respond(to: request, format: format, on: channel)
    }

    /// - Throws: As ``chat(_:on:)``.
    func completion(_ body: CompletionBody, on channel: any Channel) async throws -> Response {
        let request = try GenerationRequest(
            body.shared, prompts: body.prompts, logprobCount: body.logprobCount,
            defaultMaxTokens: 16, for: self)
        let format = CompletionFormat(
            tokenBytes: body.logprobCount.map { _ in generator.bytes(of:) })
        return try await respond(to: request, format: format, on: channel)
    }

    private func respond<Format: AnswerFormat>(
        to request: GenerationRequest, format: Format, on channel: any Channel
    ) async throws -> Response {
        let streams = try request.choices.map { choice in
            try generator.stream(
                .tokens(choice.prompt), sampling: choice.sampling, cacheSalt: request.cacheSalt,
                priority: request.priority)
        }
        let answer = Answer(format: format, modelName: modelName, request: request)
        switch request.delivery {
        case .whole:
            return try JSON.response(await answer.whole(streams, on: channel))
        case .streamed(let includesUsage, let includesContinuousUsage):
            let answer = StreamedAnswer(
                answer: answer, includesUsage: includesUsage,
                includesContinuousUsage: includesContinuousUsage)
            return Response(
                status: .ok, headers: ServerSentEvents.headers,
                body: ResponseBody { writer in
                    var events = ServerSentEvents(writer: writer)
                    try await answer.send(streams, on: channel, to: &events)
                    try await events.finish()
                })
        }
    }
}

/// One answer: what all its parts have in common.
struct Answer<Format: AnswerFormat>: Sendable {
    let format: Format
    let modelName: String
    let request: GenerationRequest
    let id = Format.idPrefix + UUID().uuidString.lowercased()
    let created = Int(Date().timeIntervalSince1970)

    func envelope<Choice>(
        _ object: String, _ choices: [Choice], usage: ExplicitNull<UsageBody>?
    ) -> Envelope<Choice> {
        Envelope(
            id: id, object: object, created: created, model: modelName,
            systemFingerprint: "nanoflow-" + NanoServer.version, choices: choices, usage: usage)
    }

    /// Waits for all choices.
    func whole(
        _ streams: [AsyncThrowingStream<GenerationEvent, any Error>], on channel: any Channel
    ) async throws -> Envelope<Format.WholeChoice> {
        var parts = Array(repeating: AnswerPart(), count: streams.count)
        var usages = Array(
            repeating: TokenUsage(promptTokens: 0, completionTokens: 0), count: streams.count)
        try await forEachEvent(of: streams, on: channel) { event in
            switch event.event {
            case .token(let token, let text):
                parts[event.index].tokens.append(token)
                parts[event.index].text += text
            case .finished(let reason, let text, let usage):
                parts[event.index].text += text
                parts[event.index].finishReason = reason
                usages[event.index] = usage
            }
        }
        let usage = request.usage(usages)
        let choices = parts.enumerated().map { format.whole($0.offset, $0.element) }
        return envelope(Format.wholeObject, choices, usage: ExplicitNull(wrappedValue: usage))
    }
}
