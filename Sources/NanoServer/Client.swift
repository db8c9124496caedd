import NIOCore

/// Who sent a request.
struct Client: Sendable {
    let channel: any Channel
    /// The number of its key; nil: the server asks for none.
    let tenant: Int?
    /// Whether others have keys of their own.
    let sharesByKey: Bool
    /// The name that it has given the request, in the head.
    let requestID: String?
}
