import NIOHTTP1
import NanoClient
import NanoDevice
import NanoFlow
import Testing

/// Loads against a server on loopback.
@Suite(.timeLimit(.minutes(2))) struct LoadRunTests {
    private static func whole(_ tokens: Int) -> LoopbackServer.Answer {
        let chunk = { (text: String, finish: String) in
            "data: {\"choices\":[{\"text\":\"\(text)\",\"finish_reason\":\(finish)}]}\n\n"
        }
        return LoopbackServer.Answer(pieces: [
            chunk("a", "null"), chunk("b", "null"), chunk("", "\"length\""),
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":4,",
            "\"completion_tokens\":\(tokens)}}\r\n\r\ndata: [DONE]\n\n",
        ])
    }

    /// Sends requests all at once.
    private static func records(
        _ count: Int, timeout: Double = 60, maxConcurrency: Int? = nil,
        _ answer: @escaping LoopbackServer.Answering
    ) async throws -> [RequestRecord] {
        let load = try OnlineLoad(
            .sized(promptTokens: 4, completionTokens: 3), .poisson(rate: .infinity),
            limits: .init(requestCount: count), seed: 0)
        return try await LoopbackServer.serving(answer) { url in
            try await Self.withClient(url, timeout: timeout) { client in
                let body = CompletionBody(model: "m", vocabulary: 0..<100, omitting: [])
                let run = LoadRun(client, body, maxConcurrency: maxConcurrency)
                let records = try await run.run(load)
                #expect(run.progress.withLock { $0.completed + $0.failed } == count)
                return records
            }
        }
    }

    /// A client may not go before it is shut down.
    private static func withClient<Value>(
        _ url: String, timeout: Double = 60, _ body: (CompletionClient) async throws -> Value
    ) async throws -> Value {
        let client = CompletionClient(try ServerAddress(url), apiKey: "k", timeout: timeout)
        do {
            let value = try await body(client)
            try await client.shutdown()
            return value
        } catch {
            try await client.shutdown()
            throw error
        }
    }

    @Test func noRequestWaitsForAnAnswer() async throws {
        // The server answers none before it has them all.
        let gate = Gate(count: 100)
        let records = try await Self.records(100) { _ in
            await gate.pass()
            return Self.whole(3)
        }
        #expect(records.compactMap(\.completion).count == 100)
        let figures = LoadFigures(records, objective: nil)
        #expect(figures.peakConcurrentRequests == 100)
        #expect(figures.inputTokens == 400)
        #expect(figures.generatedTokens == 300)
        #expect(figures.shortCompletions == 0)
    }

    @Test func theCapIsKept() async throws {
        let occupancy = Occupancy()
        let gate = Gate(count: 3)
        let records = try await Self.records(12, maxConcurrency: 3) { _ in
            // The first three are inside together.
            if await occupancy.enter() <= 3 { await gate.pass() }
            await occupancy.leave()
            return Self.whole(2)
        }
        #expect(records.compactMap(\.failure?.description) == [])
        #expect(await occupancy.peak == 3)
        #expect(LoadFigures(records, objective: nil).shortCompletions == 12)
    }

    /// Each answer, and what the failure must say.
    @Test(arguments: [
        (
            LoopbackServer.Answer(
                status: .tooManyRequests, contentType: "application/json",
                pieces: ["{\"error\": {\"message\": \"The queue is full.\"}}"]),
            "HTTP 429: The queue is full."
        ),
        (
            LoopbackServer.Answer(status: .notFound, pieces: ["nothing here"]),
            "HTTP 404: nothing here"
        ),
        (
            LoopbackServer.Answer(contentType: "application/json", pieces: ["{}"]),
            "the answer is application/json, not text/event-stream"
        ),
        (
            LoopbackServer.Answer(pieces: ["data: {\"choices\":[{\"text\":\"a\"}]}\n\n"]),
            "the stream ended before the completion"
        ),
        (
            LoopbackServer.Answer(pieces: ["data: {\"error\":{\"message\":\"stopped\"}}\n\n"]),
            "the server ended the stream: stopped"
        ),
    ])
    func failuresHaveTheirReason(answer: LoopbackServer.Answer, reason: String) async throws {
        let records = try await Self.records(2) { _ in answer }
        #expect(records.map(\.failure?.description) == [reason, reason])
    }

    @Test func aLateAnswerIsAFailure() async throws {
        // Nothing ever comes.
        let (events, continuation) = AsyncStream<Never>.makeStream()
        let records = try await Self.records(1, timeout: 0.2) { _ in
            for await _ in events {}
            return Self.whole(3)
        }
        continuation.finish()
        #expect(records.map(\.failure?.description) == ["no complete answer within 0.2 s"])
    }

    @Test func theFirstModelIsAskedFor() async throws {
        let models: LoopbackServer.Answering = { route in
            LoopbackServer.Answer(
                status: route == "GET /v1/models" ? .ok : .notFound,
                contentType: "application/json",
                pieces: ["{\"data\":[{\"id\":\"m1\"},{\"id\":\"m2\"}]}"])
        }
        let model = try await LoopbackServer.serving(models) { url in
            try await Self.withClient(url) { try await $0.firstModel() }
        }
        #expect(model == "m1")
    }
}
