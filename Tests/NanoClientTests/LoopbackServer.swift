import NIOCore
import NIOHTTP1
import NIOPosix

/// A server on loopback whose answers the test makes.
struct LoopbackServer {
    /// An answer; each piece of the body is written on its own.
    struct Answer: Sendable {
        var status = HTTPResponseStatus.ok
        var contentType = "text/event-stream"
        var pieces: [String]
    }

    /// Is given method and path.
    typealias Answering = @Sendable (String) async -> Answer

    private typealias Connection = NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart>

    /// Serves until `body` ends.
    ///
    /// - Parameters:
    ///   - answer: Makes the answer to each request, whose body is not looked at.
    ///   - body: Is given the server's URL.
    /// - Returns: What `body` does.
    /// - Throws: What `body` does, and where there is no port to bind.
    static func serving<Value: Sendable>(
        _ answer: @escaping Answering,
        _ body: @escaping @Sendable (String) async throws -> Value
    ) async throws -> Value {
        let server = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .serverChannelOption(.backlog, value: 256)
            .bind(host: "127.0.0.1", port: 0) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    return try Connection(wrappingChannelSynchronously: channel)
                }
            }
        let port = server.channel.localAddress?.port ?? 0
        return try await server.executeThenClose { connections in
            try await withThrowingTaskGroup(of: Value?.self) { group in
                group.addTask { try await body("http://127.0.0.1:\(port)") }
                group.addTask {
                    try await withThrowingDiscardingTaskGroup { group in
                        for try await connection in connections {
                            group.addTask { try? await serve(connection, answer) }
                        }
                    }
                    return nil
                }
                defer { group.cancelAll() }
                while let value = try await group.next() {
                    if let value { return value }
                }
                preconditionFailure("The body has a value.")
            }
        }
    }

    private static func serve(
        _ connection: Connection, _ answer: Answering
    ) async throws {
        try await connection.executeThenClose { inbound, outbound in
            var route = ""
            for try await part in inbound {
                switch part {
                case .head(let head): route = "\(head.method) \(head.uri)"
                case .body: break
                case .end:
                    let answer = await answer(route)
                    let headers = HTTPHeaders([("content-type", answer.contentType)])
                    try await outbound.write(
                        .head(
                            HTTPResponseHead(
                                version: .http1_1, status: answer.status, headers: headers)))
                    for piece in answer.pieces {
                        try await outbound.write(.body(.byteBuffer(ByteBuffer(string: piece))))
                    }
                    try await outbound.write(.end(nil))
                }
            }
        }
    }
}

/// Lets people through in groups of so many, each when the last of it has come.
actor Gate {
    private let count: Int
    private var waiting: [CheckedContinuation<Void, Never>] = []

    init(count: Int) { self.count = count }

    func pass() async {
        await withCheckedContinuation { continuation in
            waiting.append(continuation)
            guard waiting.count == count else { return }
            for continuation in waiting { continuation.resume() }
            waiting = []
        }
    }
}

/// Counts those who are inside.
actor Occupancy {
    private var current = 0
    private var total = 0
    private(set) var peak = 0

    /// Returns how many have come in so far.
    func enter() -> Int {
        current += 1
        total += 1
        peak = max(peak, current)
        return total
    }

    func leave() { current -= 1 }
}
