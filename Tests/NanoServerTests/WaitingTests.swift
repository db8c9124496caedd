import Foundation
import Hummingbird
import HummingbirdTesting
import NIOCore
import NanoFlow
import NanoServer
import NanoTestSupport
import Synchronization
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

    @Test func whoWouldWaitTooLongIsRefused() async throws {
        var configuration = EngineConfiguration(
            precision: .f32, threadCount: 1, kvCacheByteCount: 64 << 20, maxSequences: 1)
        configuration.serving.maxWaitingSeconds = 0.01
        let llm = try await LLM(
            model: Fixture.engine("tiny-llama.gguf").path, configuration: configuration)
        let sampling = SamplingParameters(
            temperature: 0, maxTokens: 400, ignoresEndOfSequence: true)
        // What a token takes is learnt.
        _ = try await llm.generate(.tokens(Array(5..<40)), sampling: sampling)
        func submit(_ count: Int) throws -> [AsyncThrowingStream<GenerationEvent, any Error>] {
            try llm.streams(
                Array(repeating: ([5], sampling), count: count), cacheSalt: nil, priority: 0,
                tenant: nil)
        }
        var refusal: NanoFlowError?
        // Where this test was halted, those before may have been given up already: then once more.
        while refusal == nil {
            let waiting = try submit(20)
            do { _ = try submit(1) } catch let error as NanoFlowError { refusal = error }
            withExtendedLifetime(waiting) {}
        }
        #expect(refusal?.code == .queueFull)
        #expect(refusal?.field == "waiting time")
        #expect(try #require(refusal?.retryAfter) > 0)
        await llm.shutdown()
    }

    /// As many as there are threads for everybody, each of which takes as long as it likes.
    @Test(.timeLimit(.minutes(5))) func longTextsHoldUpNobodyElse() async throws {
        let count = min(ProcessInfo.processInfo.activeProcessorCount, System.coreCount)
        let (begun, beginning) = AsyncStream<Void>.makeStream()
        let isHeld = DispatchSemaphore(value: 0)
        var generator = ScriptedGenerator { AsyncThrowingStream { $0.finish() } }
        generator.willTokenize = {
            beginning.yield()
            isHeld.wait()
        }
        let text = String(repeating: "a", count: 100_000)
        try await TestModel.serve(generator, .live) { client in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<count {
                    group.addTask {
                        try await RawConnection.open(client) { connection in
                            try await connection.post("/tokenize", #"{"prompt":"\#(text)"}"#)
                            try await connection.read(until: "HTTP/1.1 200 ")
                        }
                    }
                }
                var iterator = begun.makeAsyncIterator()
                for _ in 0..<count { await iterator.next() }
                let health = try await client.execute(uri: "/health", method: .get)
                #expect(health.status == .ok)
                for _ in 0..<count { isHeld.signal() }
                try await group.waitForAll()
            }
        }
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

    /// Also where it reads nothing at all, and long before the connection is closed for that.
    @Test func whatAReaderFallsBehindOnIsAborted() async throws {
        let (ends, end) = AsyncStream<Void>.makeStream()
        let isFirst = Mutex(true)
        let generator = ScriptedGenerator {
            let floods = isFirst.withLock { isFirst in
                defer { isFirst = false }
                return isFirst
            }
            return AsyncThrowingStream { continuation in
                guard floods else {
                    return continuation.onTermination = { _ in end.yield() }
                }
                for _ in 0..<200_000 { continuation.yield(.letter("a")) }
            }
        }
        try await TestModel.serve(generator, .live) { client in
            try await RawConnection.open(client) { connection in
                try await connection.post(path, #"{"prompt":"a","n":2,"stream":true}"#)
                for await _ in ends { break }
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
