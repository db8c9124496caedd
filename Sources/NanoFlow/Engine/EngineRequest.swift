import NanoDevice

/// A validated request as the engine takes it: token ids in, events out.
package struct EngineRequest: Sendable {
    package static let priorities = -100...100

    package let prompt: [Int32]
    package let sampling: SamplingParameters
    /// Tokens of the completion at most; 0 where only the prompt's log-probabilities are wanted.
    package let maxTokens: Int
    /// Keeps a tenant's cached blocks to itself; nil: shared with all that give none.
    package let cacheSalt: String?
    /// Requests of lower values go first, as long as others have not waited for long.
    package let priority: Int
    /// Who asks, where several share the engine fairly; nil: nobody in particular.
    package let tenant: Int?
    /// ``monotonicNanoseconds()`` when it came.
    package let arrival = monotonicNanoseconds()
    package let events: AsyncStream<EngineEvent>.Continuation

    package init(
        prompt: [Int32], sampling: SamplingParameters, maxTokens: Int, cacheSalt: String? = nil,
        priority: Int = 0, tenant: Int? = nil, events: AsyncStream<EngineEvent>.Continuation
    ) {
        self.prompt = prompt
        self.sampling = sampling
        self.maxTokens = maxTokens
        self.cacheSalt = cacheSalt
        self.priority = priority
        self.tenant = tenant
        self.events = events
    }
}

/// What the engine tells of a request.
package enum EngineEvent: Sendable {
    /// The prompt's tokens with their log-probabilities, before any other event.
    case prompt([PromptToken])
    /// A token of the completion, with the bytes of text that it makes certain.
    case token(GeneratedToken, certain: [UInt8])
    /// The last event.
    case finished(Ending)
    /// The only event of a request that was given up before it began.
    case failed(NanoFlowError)

    /// How a request ended.
    package struct Ending: Sendable {
        package let reason: FinishReason
        package let stop: StopCause?
        /// The bytes held back until then.
        package let rest: [UInt8]
        /// Tokens sampled.
        package let completionTokens: Int
        /// Of the prompt, those that were not computed since the cache had them.
        package let cachedPromptTokens: Int
        package let timings: RequestTimings
    }
}
