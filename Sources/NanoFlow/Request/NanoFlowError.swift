/// What went wrong, in a form that a program can act on and a person can read.
public struct NanoFlowError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The kinds of failure; each asks something else of the caller.
    public enum Code: String, Sendable, Hashable, CaseIterable {
        /// The model file cannot be read, is damaged, or needs something this build lacks.
        case modelLoading
        /// The machine or its cgroup cannot hold what the configuration asks for.
        case insufficientMemory
        /// A configuration value is out of its range.
        case invalidConfiguration
        /// A request's parameter is out of its range.
        case invalidRequest
        /// Prompt, or prompt and completion, exceed the context.
        case contextLengthExceeded
        /// The queue of waiting requests is full; try again later.
        case queueFull
        /// The request has waited too long for its turn; try again later.
        case waitedTooLong
        /// The engine is shutting down or has stopped.
        case engineStopped
    }

    /// The kind of failure.
    public let code: Code
    /// The parameter, file or limit concerned, as a user spells it.
    public let field: String
    /// What would have been accepted.
    public let limit: String
    /// What was given.
    public let given: String
    /// Seconds after which to try again, as far as that is known.
    public let retryAfter: Double?
    /// A whole sentence; made of the other fields unless the thrower knew better.
    public let description: String

    package init(
        _ code: Code, field: String, limit: String = "", given: String = "", message: String? = nil,
        retryAfter: Double? = nil
    ) {
        self.retryAfter = retryAfter
        self.code = code
        self.field = field
        self.limit = limit
        self.given = given
        self.description = message ?? "\(field) must be \(limit). Given: \(given)."
    }
}
