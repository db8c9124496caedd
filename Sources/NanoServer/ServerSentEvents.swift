import Foundation
import Hummingbird
import NIOCore

/// Writes server-sent events, each in a write of its own.
struct ServerSentEvents {
    static let headers: HTTPFields = [
        .contentType: "text/event-stream; charset=utf-8", .cacheControl: "no-cache",
    ]

    private var writer: any ResponseBodyWriter
    private let encoder = JSON.encoder()

    init(writer: any ResponseBodyWriter) {
        self.writer = writer
    }

    mutating func send(_ value: some Encodable) async throws {
        try await write(encoder.encode(value))
    }

    mutating func sendDone() async throws {
        try await write(Data("[DONE]".utf8))
    }

    consuming func finish() async throws {
        try await writer.finish(nil)
    }

    private mutating func write(_ data: Data) async throws {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(data.count + 8)
        buffer.writeStaticString("data: ")
        buffer.writeBytes(data)
        buffer.writeStaticString("\n\n")
        try await writer.write(buffer)
    }
}

/// JSON as this server writes it: keys sorted, so that equal answers are equal bytes.
enum JSON {
    static func encoder() -> JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return encoder
    }

    static func response(
        _ value: some Encodable, status: HTTPResponse.Status = .ok, headers: HTTPFields = [:]
    ) throws -> Response {
        let data = try encoder().encode(value)
        var headers = headers
        headers[.contentType] = "application/json"
        headers[.contentLength] = "\(data.count)"
        return Response(
            status: status, headers: headers,
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: data)))
    }
}
