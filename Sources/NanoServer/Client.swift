import NIOCore

/// Who sent a request.
struct Client: Sendable {
    let channel: any Channel
    /// The number of its key, where others have keys of their own.
    let tenant: Int?
    /// The name that it has given the request, in the head.
    let requestID: String?
}
