import HTTPTypes
import Hummingbird
import NIOCore
import NIOPosix

/// What of a request is read at all.
struct ServerLimits: Sendable {
    let maxBodyByteCount: Int
    /// Time for a body to arrive in whole.
    let bodyDuration: Duration
    /// What all bodies together may take up until they are tokenized.
    let bodies: ByteBudget

    /// A longer body takes long enough to decode and tokenize that other answers would wait for it.
    private static let shortByteCount = 32 << 10
    private static let maxHeaderFieldCount = 256
    private static let maxHeaderByteCount = 32 << 10

    /// - Throws: ``RequestError/headersTooLarge``.
    func check(_ headers: HTTPFields) throws(RequestError) {
        let byteCount = headers.reduce(0) { $0 + $1.name.rawName.utf8.count + $1.value.utf8.count }
        guard headers.count <= Self.maxHeaderFieldCount, byteCount <= Self.maxHeaderByteCount else {
            throw .headersTooLarge(
                fields: Self.maxHeaderFieldCount, bytes: Self.maxHeaderByteCount)
        }
    }

    /// Reads and decodes a body, and has it worked on.
    ///
    /// Long ones are on threads of their own meanwhile: those that all requests share are few, and every
    /// token of every stream passes through them. What a body takes up is counted until the end, and the
    /// last quarter of what there is for all is kept for short ones.
    ///
    /// - Throws: `NanoFlowError`, ``RequestError``; what `work` throws.
    func read<Body: Decodable & SendableMetatype, Result: Sendable>(
        _ request: Request, on channel: any Channel,
        _ work: @escaping @Sendable (Body) throws -> Result
    ) async throws -> Result {
        try Self.checkContentType(request.headers)
        let room = ByteBudget.Share(bodies)
        let bytes = try await withThrowingTaskGroup(of: [UInt8]?.self) { group in
            group.addTask { try await self.bytes(of: request, room) }
            group.addTask {
                try await Task.sleep(for: bodyDuration)
                return nil
            }
            defer { group.cancelAll() }
            return try await group.next() ?? nil
        }
        guard let bytes else { throw RequestError.bodyTooSlow(limit: bodyDuration) }
        defer { withExtendedLifetime(room) {} }
        guard bytes.count > Self.shortByteCount else {
            return try work(JSONBody(bytes).decode(Body.self))
        }
        let result = Task {
            try await NIOThreadPool.singleton.runIfActive {
                try work(JSONBody(bytes).decode(Body.self))
            }
        }
        // What still waits for a thread is not begun for a client that has gone.
        channel.onClose { result.cancel() }
        defer { channel.onClose(nil) }
        return try await result.value
    }

    /// JSON under its own name or none; clients that say that they send something else do.
    private static func checkContentType(_ headers: HTTPFields) throws(RequestError) {
        guard let type = headers[.contentType] else { return }
        let name = type.split(separator: ";").first ?? ""
        let trimmed = name.filter { $0 != " " }.lowercased()
        let isJSON = trimmed == "application/json" || trimmed.hasSuffix("+json")
        // curl's and the browsers' default for a body without a type of its own.
        let isUntold = trimmed == "application/x-www-form-urlencoded" || trimmed == "text/plain"
        guard isJSON || isUntold || trimmed.isEmpty else { throw .notJSON(type) }
    }

    private func bytes(of request: Request, _ room: ByteBudget.Share) async throws -> [UInt8] {
        // A body that is too long is refused at once, and the connection drops the rest of it while
        // the client reads the answer. One that is to be closed would not: there the rest is read
        // first, or a client that sends everything before it listens would never hear. Unless it waits
        // to be asked, and is not.
        let announced = request.headers[.contentLength].flatMap { Int($0) } ?? 0
        let isNotAsked = request.headers[.expect] != nil && announced > maxBodyByteCount
        let isClosing =
            request.headers[.connection]?.lowercased() == "close" && !isNotAsked
        guard announced <= maxBodyByteCount || isClosing else {
            throw RequestError.bodyTooLarge(limit: maxBodyByteCount)
        }
        var bytes: [UInt8] = []
        var byteCount = 0
        do {
            for try await part in request.body {
                byteCount += part.readableBytes
                if byteCount <= maxBodyByteCount {
                    let limit =
                        byteCount <= Self.shortByteCount ? bodies.limit : bodies.limit / 4 * 3
                    guard room.take(part.readableBytes, upTo: limit) else {
                        throw RequestError.bodiesTooMany(limit: bodies.limit)
                    }
                    bytes.append(contentsOf: part.readableBytesView)
                } else if !isClosing {
                    break
                }
            }
        } catch let error where !(error is RequestError || error is CancellationError) {
            throw RequestError.bodyIncomplete
        }
        guard byteCount <= maxBodyByteCount else {
            throw RequestError.bodyTooLarge(limit: maxBodyByteCount)
        }
        return bytes
    }
}
