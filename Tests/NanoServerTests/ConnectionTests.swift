import Foundation
import Hummingbird
import HummingbirdTesting
import NanoFlow
import NanoServer
import Testing

@Suite(.timeLimit(.minutes(5))) struct ConnectionTests {
    private let path = "/v1/completions"

    @Test(arguments: [true, false])
    func aClientThatGoesAwayAbortsItsRequest(isStreamed: Bool) async throws {
        let (started, starts) = AsyncStream<Void>.makeStream()
        let (aborted, aborts) = AsyncStream<Void>.makeStream()
        let generator = ScriptedGenerator {
            AsyncThrowingStream { script in
                // Nothing more is ever written: only the closed connection can end this.
                script.yield(.letter("x"))
                script.onTermination = { _ in aborts.yield() }
                starts.yield()
            }
        }
        try await TestModel.serve(generator, .live) { client in
            try await RawConnection.open(client) { connection in
                try await connection.post(path, #"{"prompt":"a","stream":\#(isStreamed)}"#)
                for await _ in started { break }
                if isStreamed { try await connection.read(until: #""text":"x""#) }
            }
            for await _ in aborted { break }
        }
    }

    @Test(arguments: [true, false])
    func theEngineFreesWhatAClientLeftBehind(isStreamed: Bool) async throws {
        let llm = try await TestModel.open()
        try await TestModel.serve(llm, .live) { client in
            try await RawConnection.open(client) { connection in
                try await connection.post(
                    path,
                    """
                    {"prompt":[5],"n":32,"max_tokens":500,"ignore_eos":true,"stream":\(isStreamed)}
                    """)
                if isStreamed {
                    try await connection.read(until: "data:")
                }
            }
            let deadline = ContinuousClock.now + .seconds(60)
            while llm.runningRequestCount > 0, ContinuousClock.now < deadline {
                await Task.yield()
            }
            #expect(llm.runningRequestCount == 0)
        }
        await llm.shutdown()
    }

    @Test func aConnectionServesOneRequestAfterTheOther() async throws {
        try await TestModel.serve(.live) { client in
            try await RawConnection.open(client) { connection in
                for index in 0..<20 {
                    let isStreamed = index.isMultiple(of: 2)
                    try await connection.post(
                        path, #"{"prompt":"a","max_tokens":2,"stream":\#(isStreamed)}"#,
                        headers: "X-Request-Id: r\(index)\r\n")
                    try await connection.read(until: "r\(index)\r\n")
                    try await connection.read(until: isStreamed ? "[DONE]" : "total_tokens")
                }
            }
        }
    }

    @Test func aBodyThatAnnouncesToBeTooLongIsRefusedUnread() async throws {
        try await TestModel.serve(.live) { client in
            try await RawConnection.open(client) { connection in
                let count = 10_000_000
                try await connection.send(
                    "POST \(path) HTTP/1.1\r\nHost: a\r\nContent-Length: \(count)\r\n\r\n")
                try await connection.read(until: "\"ContentTooLargeError\"")
                #expect(connection.received.hasPrefix("HTTP/1.1 413 "))
                // A client that goes on sending loses neither the answer nor its connection.
                try await connection.send(String(repeating: "x", count: count))
                try await connection.post(path, #"{"prompt":"a","max_tokens":1}"#)
                try await connection.read(until: "HTTP/1.1 200 OK")
            }
        }
    }

    @Test func aClientThatWaitsToBeAskedForItsBodyIsAsked() async throws {
        let interim = "HTTP/1.1 100 Continue\r\n\r\n"
        @Sendable func head(_ count: Int) -> String {
            "POST \(path) HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                + "Content-Length: \(count)\r\n\r\n"
        }
        let body = #"{"prompt":"a","max_tokens":1}"#
        try await TestModel.serve(.live) { client in
            try await RawConnection.open(client) { connection in
                try await connection.send(head(body.utf8.count))
                try await connection.read(until: interim)
                try await connection.send(body)
                try await connection.read(until: "total_tokens")
                #expect(connection.received.hasPrefix(interim + "HTTP/1.1 200 OK\r\n"))
            }
            // The second request comes while the first is answered: asking would be part of that answer.
            try await RawConnection.open(client) { connection in
                let second = head(body.utf8.count) + body
                let first = second.replacing("Expect: 100-continue\r\n", with: "")
                try await connection.send(first + second)
                try await connection.read(until: "total_tokens", times: 2)
                #expect(!connection.received.contains(interim))
            }
            try await RawConnection.open(client) { connection in
                try await connection.send(head(10_000_000))
                try await connection.read(until: "\"ContentTooLargeError\"")
                #expect(connection.received.hasPrefix("HTTP/1.1 413 "))
            }
        }
    }

    /// Such a client sends everything, then listens until the end.
    @Test func aClientThatAsksToCloseHearsThatItsBodyIsTooLong() async throws {
        try await TestModel.serve(.live) { client in
            try await RawConnection.open(client) { connection in
                let count = 10_000_000
                try await connection.send(
                    "POST \(path) HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                        + "Content-Length: \(count)\r\n\r\n")
                try await connection.send(String(repeating: "x", count: count))
                try await connection.readToEnd()
                #expect(connection.received.hasPrefix("HTTP/1.1 413 "))
                #expect(connection.received.contains("\"ContentTooLargeError\""))
            }
        }
    }

    @Test func aHeadRequestGetsNoBody() async throws {
        try await TestModel.serve(.live) { client in
            try await RawConnection.open(client) { connection in
                for target in ["/health", "/v1/completions", "/nothing"] {
                    try await connection.send("HEAD \(target) HTTP/1.1\r\nHost: a\r\n\r\n")
                }
                try await connection.send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
                try await connection.read(until: "{")
                let received = connection.received
                #expect(received.components(separatedBy: "HTTP/1.1 ").count == 5)
                #expect(received.hasPrefix("HTTP/1.1 200 "))
                #expect(!received.contains("\"error\""))
            }
        }
    }

    @Test func aChunkedBodyThatGrowsTooLongIsRefused() async throws {
        var configuration = ServerConfiguration()
        configuration.maxBodyByteCount = 10_000
        try await TestModel.serve(.live, configuration: configuration) { client in
            try await RawConnection.open(client) { connection in
                try await connection.send(
                    "POST \(path) HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                let chunk = "400\r\n" + String(repeating: "[", count: 1024) + "\r\n"
                for _ in 0..<12 {
                    try await connection.send(chunk)
                }
                try await connection.read(until: "\"ContentTooLargeError\"")
                #expect(connection.received.hasPrefix("HTTP/1.1 413 "))
            }
        }
    }

    @Test func aBodyWithoutEndIsCutOff() async throws {
        var configuration = ServerConfiguration()
        configuration.maxBodyByteCount = 1000
        try await TestModel.serve(.live, configuration: configuration) { client in
            try await RawConnection.open(client) { connection in
                try await connection.send(
                    "POST \(path) HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000000\r\n\r\n")
                try await connection.read(until: "\"ContentTooLargeError\"")
                let part = String(repeating: "x", count: 100_000)
                // The server closes in the midst of this; the kernel takes some megabytes before that
                // is noticed.
                do {
                    for _ in 0..<1000 {
                        try await connection.send(part)
                    }
                    Issue.record("The server took 100 MB of a body that it had refused.")
                } catch {}
            }
        }
    }

    @Test func theServerSaysWhereItListens() async throws {
        let (ports, listening) = AsyncStream<Int>.makeStream()
        let generator = ScriptedGenerator { AsyncThrowingStream { $0.finish() } }
        let server = NanoServer(
            generator: generator, configuration: ServerConfiguration(port: 0),
            onListening: { listening.yield($0) })
        await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.application().run() }
            for await port in ports {
                #expect(port > 0)
                break
            }
            group.cancelAll()
        }
    }
}
