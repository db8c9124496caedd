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
    let monitoring: Monitoring
    let state: ServerState
    let keys: APIKeys
    let limits: ServerLimits
    let startTime = Int(Date().timeIntervalSince1970)

    func respond(to request: Request, context: ServerContext) async throws -> Response {
        let givenID = Self.givenID(request)
        let requestID = givenID ?? UUID().uuidString.lowercased()
        var response: Response
        do {
            response = try await answer(request, context, givenID: givenID)
        } catch is CancellationError {
            // Nobody reads this.
            response = Response(status: .serviceUnavailable)
        } catch {
            let answer = ErrorResponse(error)
            if request.method == .post { service.counters.countRejection(answer.error.code) }
            if answer.status == .internalServerError {
                // Its text may be about other people's requests.
                context.logger.error(
                    "\(answer.error.message)",
                    metadata: ["request_id": "\(requestID)", "error": "\(type(of: error))"])
            }
            response = try JSON.response(answer, status: answer.status, headers: answer.headers)
        }
        response.headers[Self.requestIDField] = requestID
        // A HEAD request gets the head alone, errors included.
        return request.method == .head ? response.createHeadResponse() : response
    }

    private func answer(
        _ request: Request, _ context: ServerContext, givenID: String?
    ) async throws -> Response {
        try limits.check(request.headers)
        let path = request.uri.path
        switch path {
        case "/health":
            try allow(request, .get)
            return try monitoring.health()
        case "/ready":
            try allow(request, .get)
            return try monitoring.readiness()
        case "/":
            try allow(request, .get)
            return Page.response
        default: break
        }
        let tenant = try keys.tenant(authorization: request.headers[.authorization])
        switch path {
        case "/metrics":
            try allow(request, .get)
            return monitoring.metrics()
        case "/version":
            try allow(request, .get)
            return try JSON.response(["version": NanoServer.version])
        case "/nanoflow/engine":
            try allow(request, .get)
            return try monitoring.engine()
        case "/nanoflow/timeline":
            try allow(request, .get)
            return try monitoring.timeline(request)
        case "/v1/models":
            try allow(request, .get)
            return try JSON.response(ModelList(data: [modelCard]))
        case _ where path.hasPrefix("/v1/models/"):
            try allow(request, .get)
            return try model(String(path.dropFirst("/v1/models/".count)))
        case "/tokenize":
            try allow(request, .post)
            return try await limits.read(request, on: context.channel) {
                try JSON.response(service.tokenize($0))
            }
        case "/detokenize":
            try allow(request, .post)
            return try await limits.read(request, on: context.channel) {
                try JSON.response(service.detokenize($0))
            }
        case "/v1/completions", "/v1/chat/completions":
            try allow(request, .post)
            if state.isDraining { throw RequestError.draining }
            let client = Client(
                channel: context.channel, tenant: keys.count > 1 ? tenant : nil,
                requestID: givenID)
            return try await generate(request, path, client)
        default:
            throw RequestError.unknownPath(path)
        }
    }

    private func generate(
        _ request: Request, _ path: String, _ client: Client
    ) async throws -> Response {
        if path == "/v1/chat/completions" {
            let chat = try await limits.read(request, on: client.channel) {
                try service.chat($0, from: client)
            }
            return try await service.respond(to: chat, from: client)
        }
        let completion = try await limits.read(request, on: client.channel) {
            try service.completion($0, from: client)
        }
        return try await service.respond(to: completion, from: client)
    }

    private func allow(_ request: Request, _ method: HTTPRequest.Method) throws {
        guard request.method == method || (request.method == .head && method == .get) else {
            throw RequestError.methodNotAllowed(
                request.method.rawValue, allowed: method == .get ? "GET, HEAD" : method.rawValue)
        }
    }

    private var modelCard: ModelCard {
        ModelCard(
            id: service.modelName, created: startTime,
            maxModelLength: service.generator.maxModelLength)
    }

    private func model(_ escapedName: String) throws -> Response {
        let name = escapedName.removingPercentEncoding ?? escapedName
        try service.check(model: name)
        return try JSON.response(modelCard)
    }

    private static let requestIDField: HTTPField.Name = {
        guard let name = HTTPField.Name("X-Request-Id") else {
            preconditionFailure("X-Request-Id is a valid name of a header field.")
        }
        return name
    }()

    /// The client's own id where it is short and printable.
    private static func givenID(_ request: Request) -> String? {
        let given = request.headers[requestIDField] ?? ""
        return isUsableID(given) ? given : nil
    }

    static func isUsableID(_ id: String) -> Bool {
        (1...128).contains(id.utf8.count)
            && id.utf8.allSatisfy { (0x21...0x7E).contains($0) }
    }
}
