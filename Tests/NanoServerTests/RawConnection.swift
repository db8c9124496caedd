import Foundation
import Hummingbird
import HummingbirdTesting
import NIOCore
import NIOPosix
import Testing

/// A TCP connection whose bytes the test writes and reads itself.
struct RawConnection {
    private var inbound: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
    private let outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
    private var bytes: [UInt8] = []

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

    /// Reads until what was received contains `text` so many times.
    mutating func read(until text: String, times: Int = 1) async throws {
        while received.components(separatedBy: text).count <= times {
            let part = try #require(try await inbound.next(), "\(received)")
            bytes += part.readableBytesView
        }
    }

    /// Reads until the server closes.
    mutating func readToEnd() async throws {
        while let part = try await inbound.next() {
            bytes += part.readableBytesView
        }
    }

    /// What has arrived; a character may have arrived in part.
    var received: String {
        String(decoding: bytes, as: UTF8.self)
    }

    /// The body of the one response received, its chunks joined.
    var body: String {
        get throws {
            let headEnd = try #require(bytes.firstRange(of: "\r\n\r\n".utf8))
            let head = String(decoding: bytes[..<headEnd.lowerBound], as: UTF8.self)
            var rest = bytes[headEnd.upperBound...]
            guard head.lowercased().contains("transfer-encoding: chunked") else {
                return String(decoding: rest, as: UTF8.self)
            }
            var body: [UInt8] = []
            while let lineEnd = rest.firstRange(of: "\r\n".utf8) {
                let line = String(decoding: rest[..<lineEnd.lowerBound], as: UTF8.self)
                let count = try #require(Int(line, radix: 16))
                guard count > 0 else { break }
                let chunk = rest[lineEnd.upperBound...].prefix(count)
                body += chunk
                rest = rest[chunk.endIndex...].dropFirst(2)
            }
            return String(decoding: body, as: UTF8.self)
        }
    }
}
