import Hummingbird
import HummingbirdTesting
import NIOCore
import NIOPosix
import Testing

/// A TCP connection whose bytes the test writes and reads itself.
struct RawConnection {
    private var inbound: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
    private let outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
    private(set) var received = ""

    /// Opens a connection, and closes it when `body` ends.
    static func open<Value: Sendable>(
        _ client: any TestClientProtocol, _ body: (inout RawConnection) async throws -> Value
    ) async throws -> Value {
        let port = try #require(client.port)
        let channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .connect(host: "localhost", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(
                        wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            var connection = RawConnection(
                inbound: inbound.makeAsyncIterator(), outbound: outbound)
            return try await body(&connection)
        }
    }

    func send(_ text: String) async throws {
        try await outbound.write(ByteBuffer(string: text))
    }

    /// Sends a request with a body.
    func post(_ path: String, _ body: String, headers: String = "") async throws {
        try await send(
            "POST \(path) HTTP/1.1\r\nHost: localhost\r\n\(headers)"
                + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
    }

    /// Reads until what was received contains `text`.
    mutating func read(until text: String) async throws {
        while !received.contains(text) {
            received += String(buffer: try #require(try await inbound.next(), "\(received)"))
        }
    }

    /// Reads until the server closes.
    mutating func readToEnd() async throws {
        while let bytes = try await inbound.next() {
            received += String(buffer: bytes)
        }
    }

    /// The body of the one response received, its chunks joined.
    var body: String {
        get throws {
            let parts = received.split(separator: "\r\n\r\n", maxSplits: 1)
            let head = try #require(parts.first)
            var rest = try #require(parts.last)
            guard head.lowercased().contains("transfer-encoding: chunked") else {
                return String(rest)
            }
            var body = ""
            while let end = rest.firstRange(of: "\r\n") {
                let count = try #require(Int(rest[..<end.lowerBound], radix: 16))
                guard count > 0 else { break }
                let chunk = rest[end.upperBound...].utf8.prefix(count)
                body += String(Substring(chunk))
                rest = rest[chunk.endIndex...].dropFirst()
            }
            return body
        }
    }
}
