import HTTPTypes
import Hummingbird
import HummingbirdTesting
import NanoFlow
import Testing

@Suite(.timeLimit(.minutes(5))) struct StreamingTests {
    private let path = "/v1/chat/completions"

    private func body(_ index: Int) -> String {
        """
        {"messages":[{"role":"user","content":"Tell me \(index) things about \(index * 7)"}],\
        "temperature":0,"max_tokens":48,"stream":true}
        """
    }

    @Test func sixtyFourStreamsAtOnceEachEqualTheirAnswerAlone() async throws {
        try await TestModel.serve(.live) { client in
            var alone: [String] = []
            for index in 0..<64 {
                alone.append(text(try await client.stream(path, body(index))))
            }
            let together = try await withThrowingTaskGroup(of: (Int, String).self) { group in
                for index in 0..<64 {
                    group.addTask {
                        try await RawConnection.open(client) { connection in
                            try await connection.post(
                                path, body(index), headers: "Connection: close\r\n")
                            try await connection.readToEnd()
                            return (index, text(try events(connection.body)))
                        }
                    }
                }
                return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
            }
            for index in 0..<64 {
                #expect(together[index] == alone[index], "request \(index)")
            }
        }
    }

    @Test func everyEventIsSentWhenItHappens() async throws {
        let (stream, script) = AsyncThrowingStream<GenerationEvent, any Error>.makeStream()
        try await TestModel.serve(ScriptedGenerator { stream }, .live) { client in
            try await RawConnection.open(client) { connection in
                try await connection.post(path, body(1))
                try await connection.read(until: #""role":"assistant""#)
                script.yield(.letter("x"))
                try await connection.read(until: #""content":"x""#)
                script.yield(.letter("y"))
                try await connection.read(until: #""content":"y""#)
                script.yield(.end)
                try await connection.read(until: "data: [DONE]\n\n")
            }
        }
    }

    @Test func anErrorAfterTheFirstByteIsAnEvent() async throws {
        let generator = ScriptedGenerator {
            AsyncThrowingStream { script in
                script.yield(.letter("x"))
                script.finish(
                    throwing: NanoFlowError(.engineStopped, field: "", message: "It has stopped."))
            }
        }
        try await TestModel.serve(generator, .router) { client in
            let events = try await client.stream(path, body(1))
            #expect(events.last?["error"]["message"].string == "It has stopped.")
            #expect(events.last?["error"]["type"].string == "ServiceUnavailableError")
            let whole = try await client.post("/v1/completions", #"{"prompt":"a"}"#)
            #expect(whole.status == .serviceUnavailable)
        }
    }

    @Test func afterAnErrorOfOneChoiceTheOthersAreAborted() async throws {
        let (ended, log) = AsyncStream<Void>.makeStream()
        let generator = ScriptedGenerator {
            AsyncThrowingStream { script in
                script.onTermination = { _ in log.yield() }
                script.yield(.letter("x"))
                script.finish(
                    throwing: NanoFlowError(.engineStopped, field: "", message: "It has stopped."))
            }
        }
        try await TestModel.serve(generator, .router) { client in
            let response = try await client.post(
                "/v1/completions", #"{"prompt":["a","b","c"],"stream":true}"#)
            #expect(response.status == .ok)
        }
        var endCount = 0
        for await _ in ended {
            endCount += 1
            if endCount == 3 { break }
        }
        #expect(endCount == 3)
    }

    @Test(arguments: [
        (NanoFlowError.Code.queueFull, 429, "RateLimitError"),
        (.engineStopped, 503, "ServiceUnavailableError"),
        (.invalidRequest, 400, "BadRequestError"),
        (.insufficientMemory, 500, "InternalServerError"),
    ])
    func anEngineThatRefusesIsAStatus(
        code: NanoFlowError.Code, status: Int, type: String
    )
        async throws
    {
        let generator = ScriptedGenerator {
            throw NanoFlowError(code, field: "", message: "Not now.")
        }
        try await TestModel.serve(generator, .router) { client in
            let response = try await client.post(path, body(1))
            #expect(response.status.code == status)
            let error = try JSONValue(parsing: String(buffer: response.body))["error"]
            #expect(error["type"].string == type)
            let isTemporary = status == 429 || status == 503
            #expect((response.headers[.retryAfter] != nil) == isTemporary)
        }
    }
}
