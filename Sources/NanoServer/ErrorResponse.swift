import Hummingbird
import NanoFlow

/// What can be wrong with a request before the model sees it.
enum RequestError: Error, Hashable {
    case unknownPath(String)
    case methodNotAllowed(String, allowed: String)
    case unknownModel(String, served: String)
    case bodyTooLarge(limit: Int)
    case bodyTooSlow(limit: Duration)
    /// The client has gone, or its chunks are none.
    case bodyIncomplete
    /// Others' bodies are being read or worked on, and have the memory that there is for bodies.
    case bodiesTooMany(limit: Int)
    case readTooSlowly(Int)
    case headersTooLarge(fields: Int, bytes: Int)
    case notJSON(String)
    case unauthorized
    /// The server is about to end.
    case draining
    /// The engine has work and does not get on with it.
    case stuck(seconds: Int)
    case invalidJSON(String)
    case unsupported(field: String)
}

extension ErrorResponse {
    /// The codes that requests are turned away with, for the metric that counts them.
    static let codes = [
        "body_incomplete", "body_too_large", "body_too_slow", "context_length_exceeded",
        "engine_stopped", "headers_too_large", "internal_error", "invalid_api_key",
        "invalid_json", "invalid_value", "method_not_allowed", "model_not_found", "not_found",
        "queue_full", "read_too_slowly", "shutting_down", "too_many_bodies", "unsupported",
        "unsupported_media_type", "waited_too_long",
    ]
}

/// An error as OpenAI's clients expect it; the one place where errors become statuses.
struct ErrorResponse: Encodable {
    struct Body: Encodable {
        let message: String
        let type: String
        @ExplicitNull var param: String?
        let code: String
    }

    let error: Body
    let status: HTTPResponse.Status
    let headers: HTTPFields

    private enum CodingKeys: String, CodingKey {
        case error
    }

    init(
        _ status: HTTPResponse.Status, code: String, param: String? = nil, message: String,
        headers: HTTPFields = [:]
    ) {
        self.error = Body(
            message: message, type: Self.type(of: status), param: param, code: code)
        self.status = status
        self.headers = headers
    }

    init(_ error: any Error) {
        switch error {
        case let error as NanoFlowError: self.init(error)
        case let error as RequestError: self.init(error)
        default:
            // What an unforeseen error says may be about other people's requests.
            self.init(
                .internalServerError, code: "internal_error",
                message: "The server failed to answer this request.")
        }
    }

    private init(_ error: NanoFlowError) {
        let message = error.description
        let param = error.field.isEmpty ? nil : error.field
        switch error.code {
        case .invalidRequest:
            self.init(.badRequest, code: "invalid_value", param: param, message: message)
        case .contextLengthExceeded:
            self.init(
                .badRequest, code: "context_length_exceeded", param: param, message: message)
        case .queueFull:
            self.init(
                .tooManyRequests, code: "queue_full", message: message,
                headers: Self.retry(after: error.retryAfter))
        case .waitedTooLong:
            self.init(
                .serviceUnavailable, code: "waited_too_long", message: message,
                headers: Self.retry(after: error.retryAfter))
        case .engineStopped:
            self.init(
                .serviceUnavailable, code: "engine_stopped", message: message,
                headers: [.retryAfter: "1"])
        case .modelLoading, .insufficientMemory, .invalidConfiguration:
            self.init(.internalServerError, code: "internal_error", message: message)
        }
    }

    /// In whole seconds, at least one.
    private static func retry(after seconds: Double?) -> HTTPFields {
        let seconds = min(max(1, (seconds ?? 1).rounded(.up)), 3600)
        return [.retryAfter: "\(Int(seconds))"]
    }

    private init(_ error: RequestError) {
        switch error {
        case .bodyTooSlow(let limit):
            self.init(
                .requestTimeout, code: "body_too_slow",
                message: "The body must arrive within \(limit).", headers: [.connection: "close"])
        case .bodyIncomplete:
            self.init(
                .badRequest, code: "body_incomplete",
                message: "The body could not be read to its end.",
                headers: [.connection: "close"])
        case .bodiesTooMany(let limit):
            self.init(
                .tooManyRequests, code: "too_many_bodies",
                message: "The bodies that are being received or worked on have as much of the "
                    + "\(limit) bytes for them as they may.",
                headers: [.retryAfter: "1", .connection: "close"])
        case .readTooSlowly(let count):
            self.init(
                .requestTimeout, code: "read_too_slowly",
                message: "The client is \(count) events behind, and the stream was given up.")
        case .headersTooLarge(let fields, let bytes):
            self.init(
                .requestHeaderFieldsTooLarge, code: "headers_too_large",
                message: "The head must have at most \(fields) fields of \(bytes) bytes together.")
        case .notJSON(let type):
            self.init(
                .unsupportedMediaType, code: "unsupported_media_type",
                message: "The body must be application/json. Given: \(type).")
        case .unauthorized:
            self.init(
                .unauthorized, code: "invalid_api_key",
                message: "The request needs a valid key: Authorization: Bearer KEY.",
                headers: [.wwwAuthenticate: "Bearer"])
        case .draining:
            self.init(
                .serviceUnavailable, code: "shutting_down",
                message: "The server is shutting down and takes no new requests.",
                headers: [.retryAfter: "5"])
        case .stuck(let seconds):
            self.init(
                .serviceUnavailable, code: "no_progress",
                message: "The engine has work and has completed no step for \(seconds) s.")
        case .unknownPath(let path):
            self.init(.notFound, code: "not_found", message: "There is nothing at \(path).")
        case .methodNotAllowed(let method, let allowed):
            self.init(
                .methodNotAllowed, code: "method_not_allowed",
                message: "\(method) is not allowed here; allowed is \(allowed).",
                headers: [.allow: allowed])
        case .unknownModel(let name, let served):
            self.init(
                .notFound, code: "model_not_found", param: "model",
                message: "The model \(name) does not exist; this server has \(served).")
        case .bodyTooLarge(let limit):
            self.init(
                .contentTooLarge, code: "body_too_large",
                message: "The body must be at most \(limit) bytes.")
        case .invalidJSON(let reason):
            self.init(
                .badRequest, code: "invalid_json", message: "The body is not valid JSON: \(reason)")
        case .unsupported(let field):
            self.init(
                .badRequest, code: "unsupported", param: field,
                message: "\(field) is not supported yet.")
        }
    }

    private static func type(of status: HTTPResponse.Status) -> String {
        switch status {
        case .badRequest: "BadRequestError"
        case .unauthorized: "AuthenticationError"
        case .notFound: "NotFoundError"
        case .requestTimeout: "RequestTimeoutError"
        case .unsupportedMediaType: "UnsupportedMediaTypeError"
        case .requestHeaderFieldsTooLarge: "HeadersTooLargeError"
        case .methodNotAllowed: "MethodNotAllowedError"
        case .contentTooLarge: "ContentTooLargeError"
        case .tooManyRequests: "RateLimitError"
        case .serviceUnavailable: "ServiceUnavailableError"
        default: "InternalServerError"
        }
    }
}
