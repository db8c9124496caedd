import Hummingbird
import NanoFlow

/// What can be wrong with a request before the model sees it.
enum RequestError: Error, Hashable {
    case unknownPath(String)
    case methodNotAllowed(String, allowed: String)
    case unknownModel(String, served: String)
    case bodyTooLarge(limit: Int)
    case invalidJSON(String)
    case unsupported(field: String)
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
                headers: [.retryAfter: "1"])
        case .engineStopped:
            self.init(
                .serviceUnavailable, code: "engine_stopped", message: message,
                headers: [.retryAfter: "1"])
        case .modelLoading, .insufficientMemory, .invalidConfiguration:
            self.init(.internalServerError, code: "internal_error", message: message)
        }
    }

    private init(_ error: RequestError) {
        switch error {
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
        case .notFound: "NotFoundError"
        case .methodNotAllowed: "MethodNotAllowedError"
        case .contentTooLarge: "ContentTooLargeError"
        case .tooManyRequests: "RateLimitError"
        case .serviceUnavailable: "ServiceUnavailableError"
        default: "InternalServerError"
        }
    }
}
