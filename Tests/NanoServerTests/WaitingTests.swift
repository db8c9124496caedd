import Foundation
import Hummingbird
import HummingbirdTesting
import NanoFlow
import NanoServer
import NanoTestSupport
import Testing

/// Times that run out, and queues that are full.
@Suite struct WaitingTests {
    private let path = "/v1/completions"

    @Test func aBodyThatDoesNotComeIs408() async throws {
        var configuration = ServerConfiguration()
        configuration.bodyDuration = .milliseconds(50)
        try await TestModel.serve(.live, configuration: configuration) { client in
            try await RawConnection.open(client) { connection in
                try await connection.send(
                    "POST \(path) HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
                try await connection.read(until: "body_too_slow")
                #expect(connection.received.hasPrefix("HTTP/1.1 408 "))
            }
        }
    }

    @Test func aBodyOfNoChunksIs400() async throws {
        try await TestModel.serve(.live) { client in
            try await RawConnection.open(client) { connection in
                try await connection.send(
                    "POST \(path) HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
                try await connection.read(until: "HTTP/1.1 400 ")
            }
        }
    }

    @Test func refusalsOfTheQueueAreStatuses() async throws {
        let refusals: [(NanoFlowError.Code, Double?, Int, String)] = [
            (.queueFull, 7.2, 429, "8"), (.queueFull, nil, 429, "1"),
            (.waitedTooLong, 0, 503, "1"), (.engineStopped, nil, 503, "1"),
        ]
        for (code, seconds, status, retryAfter) in refusals {
            let generator = ScriptedGenerator {
                throw NanoFlowError(code, field: "x", message: "No.", retryAfter: seconds)
            }
            try await TestModel.serve(generator, .router) { client in
                let response = try await client.post(path, #"{"prompt":"a"}"#)
                #expect(response.status.code == status)
                #expect(response.headers[.retryAfter] == retryAfter)
            }
        }
    }

    @Test func moreChoicesThanTheQueueHoldsAreRefusedForGood() async throws {
        var configuration = EngineConfiguration(
            precision: .f32, threadCount: 1, kvCacheByteCount: 64 << 20, maxSequences: 1)
        configuration.maxQueuedRequests = 2
        let llm = try await LLM(
            model: Fixture.engine("tiny-llama.gguf").path, configuration: configuration)
        try await TestModel.serve(llm, .router) { client in
            let four = try await client.post(path, #"{"prompt":[5],"n":4,"max_tokens":1}"#)
            #expect(four.status == .badRequest)
            let three = try await client.post(path, #"{"prompt":[5],"n":3,"max_tokens":1}"#)
            #expect(three.status == .ok)
            // None of the four has been begun.
            #expect(llm.status.promptTokens == 3)
        }
        await llm.shutdown()
    }

    @Test func whoWaitsTooLongIsToldSo() async throws {
        var configuration = EngineConfiguration(
            precision: .f32, threadCount: 1, kvCacheByteCount: 64 << 20, maxSequences: 1)
        configuration.serving.maxWaitingSeconds = 0.001
        let llm = try await LLM(
            model: Fixture.engine("tiny-llama.gguf").path, configuration: configuration)
        // The first has the one slot for some hundred steps.
        let sampling = SamplingParameters(
            temperature: 0, maxTokens: 500, ignoresEndOfSequence: true)
        let streams = try llm.streams(
            [([5], sampling), ([6], sampling)], cacheSalt: nil, priority: 0, tenant: nil)
        let error = await #expect(throws: NanoFlowError.self) {
            for try await _ in streams[1] { Issue.record("It began.") }
        }
        #expect(error?.code == .waitedTooLong)
        var count = 0
        for try await event in streams[0] {
            if case .token = event { count += 1 }
        }
        #expect(count == 500)
        #expect(llm.status.overdueRequests == 1)
        await llm.shutdown()
    }

    @Test func priorityIsForServersOfOneKey() async throws {
        for keys in [["a"], ["a", "b"]] {
            var configuration = ServerConfiguration()
            configuration.apiKeys = keys
            try await TestModel.serve(configuration: configuration) { client in
                let response = try await client.execute(
                    uri: path, method: .post, headers: [.authorization: "Bearer a"],
                    body: ByteBuffer(string: #"{"prompt":[5],"max_tokens":1,"priority":-1}"#))
                #expect(response.status == (keys.count == 1 ? .ok : .badRequest))
            }
        }
    }

    @Test func aReaderThatFallsBehindIsGivenUp() async throws {
        // A generator that does not wait for anybody.
        let generator = ScriptedGenerator {
            AsyncThrowingStream { continuation in
                for _ in 0..<200_000 { continuation.yield(.letter("a")) }
                continuation.yield(.end)
                continuation.finish()
            }
        }
        try await TestModel.serve(generator, .live) { client in
            try await RawConnection.open(client) { connection in
                let body = #"{"prompt":"a","stream":true}"#
                try await connection.send(
                    "POST \(path) HTTP/1.1\r\nHost: a\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
                )
                try await connection.read(until: "read_too_slowly")
            }
        }
    }
}
