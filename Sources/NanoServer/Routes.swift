import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore

/// A request's surroundings: its connection, and a logger.
struct ServerContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel

    init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        channel = source.channel
    }
}

/// Finds the answer to a request; every error leaves here as JSON.
struct Routes: HTTPResponder {
    let service: CompletionService
    let maxBodyByteCount: Int
    let startTime = Int(Date().timeIntervalSince1970)

    private static let requestIDField: HTTPField.Name = {
        guard let name = HTTPField.Name("X-Request-Id") else {
            preconditionFailure("X-Request-Id is a valid name of a header field.")
        }
        return name
    }()

    func respond(to request: Request, context: ServerContext) async throws -> Response {
        let requestID = Self.requestID(request)
        var response: Response
        do {
            response = try await answer(request, context)
        } catch is CancellationError {
            // Nobody reads this.
            response = Response(status: .serviceUnavailable)
        } catch {
            let error = ErrorResponse(error)
            if error.status.kind == .serverError {
                context.logger.error(
                    "\(error.error.message)", metadata: ["request_id": "\(requestID)"])
            }
            response = try JSON.response(error, status: error.status, headers: error.headers)
        }
        response.headers[Self.requestIDField] = requestID
        // A HEAD request gets the head alone, errors included.
        return request.method == .head ? response.createHeadResponse() : response
    }

    private func answer(_ request: Request, _ context: ServerContext) async throws -> Response {
        let path = request.uri.path
        switch path {
        case "/health":
            try allow(request, .get)
            return try JSON.response(["status": "ok"])
        case "/metrics":
            try allow(request, .get)
            return metrics()
        case "/v1/models":
            try allow(request, .get)
            return try JSON.response(ModelList(data: [modelCard]))
        case _ where path.hasPrefix("/v1/models/"):
            try allow(request, .get)
            return try model(String(path.dropFirst("/v1/models/".count)))
        case "/v1/completions":
            try allow(request, .post)
            return try await service.completion(decoded(request), on: context.channel)
        case "/v1/chat/completions":
            try allow(request, .post)
            return try await service.chat(decoded(request), on: context.channel)
        default:
            throw RequestError.unknownPath(path)
        }
    }

    private func allow(_ request: Request, _ method: HTTPRequest.Method) throws {
        guard request.method == method || (request.method == .head && method == .get) else {
            throw RequestError.methodNotAllowed(
                request.method.rawValue, allowed: method.rawValue)
        }
    }

    private func metrics() -> Response {
        let text = MetricsText(service.generator.status, modelName: service.modelName).text
        return Response(
            status: .ok, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }

    private var modelCard: ModelCard {
        ModelCard(
            id: service.modelName, created: startTime,
            maxModelLength: service.generator.maxModelLength)
    }

    private func model(_ escapedName: String) throws -> Response {
        let name = escapedName.removingPercentEncoding ?? escapedName
        guard name == service.modelName else {
            throw RequestError.unknownModel(name, served: service.modelName)
        }
        return try JSON.response(modelCard)
    }

    /// The type of content is not looked at: clients that send JSON as something else mean JSON.
    private func decoded<Body: Decodable>(_ request: Request) async throws -> Body {
        // A body that is too long is refused at once, and the connection drops the rest of it while
        // the client reads the answer. One that is to be closed would not: there the rest is read
        // first, or a client that sends everything before it listens would never hear.
        let isClosing = request.headers[.connection]?.lowercased() == "close"
        let announced = request.headers[.contentLength].flatMap { Int($0) } ?? 0
        guard announced <= maxBodyByteCount || isClosing else {
            throw RequestError.bodyTooLarge(limit: maxBodyByteCount)
        }
        var bytes: [UInt8] = []
        var byteCount = 0
        for try await part in request.body {
            byteCount += part.readableBytes
            if byteCount <= maxBodyByteCount {
                bytes.append(contentsOf: part.readableBytesView)
            } else if !isClosing {
                break
            }
        }
        guard byteCount <= maxBodyByteCount else {
            throw RequestError.bodyTooLarge(limit: maxBodyByteCount)
        }
        return try JSONBody(bytes).decode(Body.self)
    }

    /// The client's own id where it is short and printable, else a fresh one.
    private static func requestID(_ request: Request) -> String {
        let given = request.headers[requestIDField] ?? ""
        let isUsable =
            (1...128).contains(given.utf8.count)
            && given.utf8.allSatisfy { (0x21...0x7E).contains($0) }
        return isUsable ? given : UUID().uuidString.lowercased()
    }
}
