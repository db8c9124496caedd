import NanoFlow
import Testing

/// What the queue lets in, before the engine has looked.
@Suite struct EngineInboxTests {
    private func request(tenant: Int? = nil, promptTokens: Int = 1) -> EngineRequest {
        let (_, events) = AsyncStream<EngineEvent>.makeStream()
        return EngineRequest(
            prompt: Array(repeating: 5, count: promptTokens), sampling: SamplingParameters(),
            maxTokens: 1, tenant: tenant, events: events)
    }

    @Test func oneKeyLeavesRoomForTheNext() throws {
        let inbox = EngineInbox(capacity: 8, tokenCapacity: 1000)
        for _ in 0..<4 { _ = try inbox.submit(request(tenant: 1)) }
        let error = #expect(throws: NanoFlowError.self) {
            try inbox.submit(request(tenant: 1))
        }
        #expect(error?.code == .queueFull)
        #expect(
            error?.description
                == "The queue is full: 4 of 8 requests are running or waiting, "
                + "4 of them with this key, and 1 more have come.")
        for _ in 0..<2 { _ = try inbox.submit(request(tenant: 2)) }
        _ = try inbox.submit(request(tenant: 3))
        #expect(inbox.unfinishedCount == 7)
    }

    @Test func withoutKeysAllOfItIsForAll() throws {
        let inbox = EngineInbox(capacity: 8, tokenCapacity: 1000)
        for _ in 0..<8 { _ = try inbox.submit(request()) }
        #expect(throws: NanoFlowError.self) { try inbox.submit(request()) }
    }

    @Test func whatCanNeverBeLetInIsWrongAndNotEarly() throws {
        let inbox = EngineInbox(capacity: 8, tokenCapacity: 100)
        for (requests, field) in [
            (Array(repeating: request(), count: 9), "n"),
            ([request(promptTokens: 60), request(promptTokens: 60)], "prompt"),
        ] {
            let error = #expect(throws: NanoFlowError.self) { try inbox.submit(requests) }
            #expect(error?.code == .invalidRequest)
            #expect(error?.field == field)
        }
        #expect(inbox.unfinishedCount == 0)
    }
}
