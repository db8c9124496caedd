/// A validated request as the engine takes it: token ids in, events out.
package struct EngineRequest: Sendable {
    /// What the engine is to do with the prompt.
    package enum Task: Sendable {
        /// Continue it.
        case complete(SamplingParameters, maxTokens: Int)
        /// Give the log-probability of each of its tokens but the first.
        case score
    }

    package static let priorities = -100...100

    package let prompt: [Int32]
    package let task: Task
    /// Keeps a tenant's cached blocks to itself; nil: shared with all that give none.
    package let cacheSalt: String?
    /// Requests of lower values go first, as long as others have not waited for long.
    package let priority: Int
    package let events: AsyncStream<EngineEvent>.Continuation

    package init(
        prompt: [Int32], task: Task, cacheSalt: String? = nil, priority: Int = 0,
        events: AsyncStream<EngineEvent>.Continuation
    ) {
        self.cacheSalt = cacheSalt
        self.priority = priority
        self.prompt = prompt
        self.task = task
        self.events = events
    }
}

/// What the engine tells of a request.
package enum EngineEvent: Sendable {
    /// A token of the completion, with the bytes of text that it makes certain.
    case token(GeneratedToken, certain: [UInt8])
    /// The log-probabilities of the prompt's tokens from the second on.
    case scores([Float])
    /// The last event: why it ended, the bytes held back until then, tokens sampled, and of the prompt
    /// those that were not computed since the cache had them.
    case finished(
        FinishReason, rest: [UInt8], completionTokens: Int, cachedPromptTokens: Int)
}
