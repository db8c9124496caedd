import Foundation
import Hummingbird
import HummingbirdTesting
import NanoFlow
import NanoServer
import Testing

/// Connections that are slow, idle or too many, and an engine that does not get on.
@Suite(.timeLimit(.minutes(1))) struct SlowClientTests {
    @Test func aHeadThatDoesNotEndIsCutOff() async throws {
        var configuration = ServerConfiguration()
        configuration.idleDuration = .milliseconds(200)
        try await TestModel.serve(.live, configuration: configuration) { client in
            try await RawConnection.open(client) { connection in
                // On a busy machine the time may be over before this is sent.
                try? await connection.send("GET /health HTTP/1.1\r\nHo")
                try await connection.readToEnd()
                #expect(connection.received.isEmpty)
            }
        }
    }

    @Test func anEnormousHeadIsRefusedAndTheServerGoesOn() async throws {
        try await TestModel.serve(.live) { client in
            try await RawConnection.open(client) { connection in
                let field = "X-Long: " + String(repeating: "x", count: 1 << 20)
                // The server may close in the midst of it.
                try? await connection.send("GET /health HTTP/1.1\r\nHost: a\r\n\(field)\r\n\r\n")
                try? await connection.readToEnd()
                #expect(
                    connection.received.isEmpty || connection.received.hasPrefix("HTTP/1.1 400 "))
            }
            let good = try await client.execute(uri: "/health", method: .get)
            #expect(good.status == .ok)
        }
    }

    @Test func aClientThatReadsNothingLosesItsConnection() async throws {
        let (ends, end) = AsyncStream<Bool>.makeStream()
        let generator = ScriptedGenerator {
            AsyncThrowingStream { continuation in
                continuation.onTermination = { _ in end.yield(true) }
                let text = String(repeating: "a", count: 1 << 16)
                let token = GeneratedToken(id: 97, bytes: [97], logprob: nil, alternatives: [])
                for _ in 0..<1000 { continuation.yield(.token(token, text: text)) }
            }
        }
        var configuration = ServerConfiguration()
        configuration.stallDuration = .milliseconds(100)
        try await TestModel.serve(generator, .live, configuration: configuration) { client in
            try await RawConnection.open(client) { connection in
                try await connection.post("/v1/completions", #"{"prompt":"a","stream":true}"#)
                for await _ in ends { break }
            }
        }
    }

    @Test func connectionsBeyondTheLimitWait() async throws {
        var configuration = ServerConfiguration()
        configuration.maxConnections = 1
        try await TestModel.serve(.live, configuration: configuration) { client in
            try await RawConnection.open(client) { first in
                try await first.send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
                try await first.read(until: "ok")
                try await RawConnection.open(client) { second in
                    try await second.send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
                    // The first one is still served, and its end lets the second one in.
                    try await first.send(
                        "GET /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    try await first.readToEnd()
                    #expect(first.received.contains("version"))
                    try await second.read(until: "ok")
                }
            }
        }
    }

    @Test(arguments: [59.0, 60.0]) func anEngineThatCompletesNoStepIsUnwell(
        seconds: Double
    ) async throws {
        var configuration = ServerConfiguration()
        configuration.progressDuration = .seconds(60)
        let generator = ScriptedGenerator(secondsWithoutProgress: seconds) {
            AsyncThrowingStream { $0.finish() }
        }
        try await TestModel.serve(generator, .router, configuration: configuration) { client in
            for path in ["/health", "/ready"] {
                let answer = try await client.execute(uri: path, method: .get)
                #expect(answer.status == (seconds < 60 ? .ok : .serviceUnavailable))
                #expect(String(buffer: answer.body).contains("no_progress") == (seconds >= 60))
            }
        }
    }
}
