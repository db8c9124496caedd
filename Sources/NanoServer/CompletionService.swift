import Foundation
import Hummingbird
import NIOCore
import NanoFlow

/// Answers completion requests of either shape.
struct CompletionService: Sendable {
    let generator: any TextGenerator
    let modelName: String
    let maxChoices: Int
    let counters: RequestCounters

    /// Checks and tokenizes.
    ///
    /// - Throws: `NanoFlowError`, ``RequestError``.
    func chat(_ body: ChatBody, from client: Client) throws -> Asked<ChatFormat> {
        let request = try GenerationRequest(
            body.shared, prompts: [.chat(body.messages)], logprobCount: body.logprobCount,
            defaultMaxTokens: nil, from: client, for: self)
        return Asked(
            request: request, format: ChatFormat(details: details(of: request, body.logprobCount)),
            chatDetails: details(of: request, nil))
    }

    /// - Throws: As ``chat(_:from:)``.
    func completion(
        _ body: CompletionBody, from client: Client
    ) throws -> Asked<CompletionFormat> {
        let request = try GenerationRequest(
            body.shared, prompts: body.prompts, logprobCount: body.logprobCount,
            echoes: body.echoes, defaultMaxTokens: 16, from: client, for: self)
        return Asked(
            request: request,
            format: CompletionFormat(details: details(of: request, body.logprobCount)),
            chatDetails: nil)
    }

    private func details(of request: GenerationRequest, _ logprobCount: Int?) -> TokenDetails {
        TokenDetails(
            generator: generator, hasLogprobs: logprobCount != nil,
            promptLogprobCount: request.promptLogprobCount, hasIDs: request.returnsTokenIDs)
    }

    /// Has the engine answer.
    ///
    /// - Throws: `NanoFlowError`, ``RequestError``; `CancellationError` when the client has gone.
    func respond<Format: AnswerFormat>(
        to asked: Asked<Format>, from client: Client
    ) async throws -> Response {
        let request = asked.request
        counters.countRequest(choices: request.choicesPerPrompt)
        let streams = try generator.streams(
            request.choices.map { ($0.prompt, $0.sampling) }, cacheSalt: request.cacheSalt,
            priority: request.priority, tenant: request.tenant)
        let channel = client.channel
        let answer = Answer(
            format: asked.format, modelName: modelName, request: request,
            chatDetails: asked.chatDetails)
        switch request.delivery {
        case .whole:
            return try JSON.response(await answer.whole(streams, on: channel))
        case .streamed(let includesUsage, let includesContinuousUsage):
            let answer = StreamedAnswer(
                answer: answer, includesUsage: includesUsage,
                includesContinuousUsage: includesContinuousUsage, counters: counters)
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

/// A request that the engine may have, and the shape of its answer.
struct Asked<Format: AnswerFormat>: Sendable {
    let request: GenerationRequest
    let format: Format
    /// Of a chat: what the answer says of the prompt.
    let chatDetails: TokenDetails?
}

/// One answer: what all its parts have in common.
struct Answer<Format: AnswerFormat>: Sendable {
    let format: Format
    let modelName: String
    let request: GenerationRequest
    /// Of a chat: what the answer says of the prompt.
    let chatDetails: TokenDetails?
    let id: String
    let created = Int(Date().timeIntervalSince1970)

    init(
        format: Format, modelName: String, request: GenerationRequest, chatDetails: TokenDetails?
    ) {
        self.format = format
        self.modelName = modelName
        self.request = request
        self.chatDetails = chatDetails
        id = Format.idPrefix + (request.id ?? UUID().uuidString.lowercased())
    }

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
        try await forEachEvent(of: streams, on: channel) { event in
            switch event.event {
            case .prompt(let tokens):
                parts[event.index].prompt = tokens
            case .token(let token, let text):
                parts[event.index].tokens.append(token)
                parts[event.index].text += text
            case .finished(let end):
                parts[event.index].text += end.text
                parts[event.index].end = end
            }
        }
        let ends = parts.compactMap(\.end)
        let usage = request.usage(ends.map(\.usage))
        let choices = zip(request.choices, parts).enumerated().map { index, choice in
            format.whole(index, choice.0, choice.1)
        }
        var envelope = envelope(
            Format.wholeObject, choices, usage: ExplicitNull(wrappedValue: usage))
        envelope.metrics = TimingsBody(ends)
        if let chatDetails, let choice = request.choices.first, let part = parts.first {
            envelope.promptLogprobs = chatDetails.promptLogprobs(part)
            envelope.promptTokenIDs = chatDetails.promptTokenIDs(choice)
        }
        return envelope
    }
}
