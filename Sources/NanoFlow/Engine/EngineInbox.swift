import NanoDevice

/// The way into the engine: requests and aborts from any thread, drained once a step.
package final class EngineInbox: Sendable {
    enum Message: Sendable {
        case submit(SequenceID, EngineRequest)
        case abort(SequenceID)
        case choose(PipelineChoice)
    }

    private struct State: Sendable {
        var messages: [Message] = []
        var nextID: SequenceID = 1
        var unfinishedCount = 0
        var unfinishedTokens = 0
        var isClosed = false
        /// Predicted of those that wait in the engine, of those that it has taken since, and of those in
        /// `messages`.
        var queuedSeconds = 0.0
        var takenSeconds = 0.0
        var newSeconds = 0.0
        var forecast = QueueForecast()
        /// When there was something to do again.
        var busySince: UInt64 = 0

        var waitingSeconds: Double { queuedSeconds + takenSeconds + newSeconds }
    }

    private let state = Locked(State())
    private let bell = FutexWord()
    private let capacity: Int
    private let tokenCapacity: Int
    private let maxQueuedSeconds: Double?

    /// Room for `capacity` requests with `tokenCapacity` tokens in their prompts, waiting and running
    /// together, as long as those that wait are predicted to begin within `maxQueuedSeconds`.
    package init(capacity: Int, tokenCapacity: Int, maxQueuedSeconds: Double? = nil) {
        self.capacity = capacity
        self.tokenCapacity = tokenCapacity
        self.maxQueuedSeconds = maxQueuedSeconds
    }

    /// ``monotonicNanoseconds()`` when a request last came while there was none.
    package var busySince: UInt64 { state.withLock(\.busySince) }

    /// Requests submitted and not finished.
    package var unfinishedCount: Int { state.withLock(\.unfinishedCount) }

    /// Queues a request.
    ///
    /// - Throws: ``NanoFlowError`` when the queue is full or the engine has stopped.
    package func submit(_ request: EngineRequest) throws(NanoFlowError) -> SequenceID {
        try submit([request])
    }

    /// Queues several requests, which the engine finds at once and in their order.
    ///
    /// - Returns: The name of the first; the others' follow.
    /// - Throws: ``NanoFlowError`` when the queue has no room for all or the engine has stopped.
    package func submit(_ requests: [EngineRequest]) throws(NanoFlowError) -> SequenceID {
        let first = try state.withLock { state throws(NanoFlowError) in
            guard !state.isClosed else { throw .engineStopped }
            guard requests.count <= capacity else {
                throw NanoFlowError(
                    .invalidRequest, field: "n", limit: "at most \(capacity) choices",
                    given: "\(requests.count)")
            }
            guard state.unfinishedCount + requests.count <= capacity else {
                throw NanoFlowError(
                    .queueFull, field: "requests", limit: "\(capacity) at once",
                    given: "\(state.unfinishedCount + requests.count)",
                    message: "The queue is full: \(state.unfinishedCount) of \(capacity) requests "
                        + "are running or waiting, and \(requests.count) more have come.",
                    retryAfter: state.waitingSeconds)
            }
            let waiting = state.waitingSeconds
            if let maxQueuedSeconds, waiting > maxQueuedSeconds {
                throw NanoFlowError(
                    .queueFull, field: "waiting time", limit: "\(maxQueuedSeconds) s",
                    given: "\(waiting) s",
                    message: "The requests that wait already need about "
                        + "\(Int(waiting.rounded(.up))) s, and a request may wait "
                        + "\(maxQueuedSeconds) s.",
                    retryAfter: waiting - maxQueuedSeconds)
            }
            let tokens = requests.reduce(0) { $0 + $1.prompt.count }
            guard state.unfinishedTokens + tokens <= tokenCapacity else {
                throw NanoFlowError(
                    .queueFull, field: "prompt tokens", limit: "\(tokenCapacity) at once",
                    given: "\(state.unfinishedTokens + tokens)",
                    message: "The queue is full: the prompts that run or wait have "
                        + "\(state.unfinishedTokens) tokens, and \(tokenCapacity) may.",
                    retryAfter: state.waitingSeconds)
            }
            let first = state.nextID
            if state.unfinishedCount == 0 { state.busySince = monotonicNanoseconds() }
            for (index, request) in requests.enumerated() {
                state.messages.append(.submit(first + index, request))
                state.newSeconds += state.forecast.seconds(request)
            }
            state.nextID += requests.count
            state.unfinishedCount += requests.count
            state.unfinishedTokens += tokens
            return first
        }
        ring()
        return first
    }

    /// Asks for the end of a request; it is in no batch formed after the engine has seen this.
    package func abort(_ id: SequenceID) {
        state.withLock { state in
            if !state.isClosed { state.messages.append(.abort(id)) }
        }
        ring()
    }

    /// Changes how steps are run from the next one on.
    package func choose(_ choice: PipelineChoice) {
        state.withLock { $0.messages.append(.choose(choice)) }
        ring()
    }

    /// Refuses requests from now on; the engine ends those it has.
    package func close() {
        state.withLock { $0.isClosed = true }
        ring()
    }

    // MARK: - The engine's side

    var isClosed: Bool { state.withLock(\.isClosed) }

    func drain() -> [Message] {
        state.withLock { state in
            defer { state.messages.removeAll(keepingCapacity: true) }
            state.takenSeconds += state.newSeconds
            state.newSeconds = 0
            return state.messages
        }
    }

    /// Notes the time that requests which have not begun are predicted to take, and how that is predicted.
    func note(queuedSeconds: Double, _ forecast: QueueForecast) {
        state.withLock { state in
            state.queuedSeconds = queuedSeconds
            state.takenSeconds = 0
            state.forecast = forecast
        }
    }

    /// Notes that a request with so many tokens in its prompt has ended.
    func finish(promptTokens: Int) {
        state.withLock {
            $0.unfinishedCount -= 1
            $0.unfinishedTokens -= promptTokens
        }
    }

    /// Sleeps until there may be a message; `rings` is the count seen before the last drain.
    func awaitRing(after rings: UInt32) {
        bell.sleep(while: rings, unlessReached: rings &+ 1)
    }

    var rings: UInt32 { bell.load() }

    /// Wakes the engine.
    func ring() {
        bell.advance(to: bell.load() &+ 1)
    }
}

extension NanoFlowError {
    package static var engineStopped: NanoFlowError {
        NanoFlowError(
            .engineStopped, field: "engine", message: "The engine is shutting down or has stopped.")
    }
}

/// What the time of a request is predicted from before the engine has seen it.
package struct QueueForecast: Sendable {
    var times = StepForecast()
    /// Tokens that a completion has where nothing but its limit is known.
    var likelyTokens = 0

    /// 0 as long as nothing is known.
    func seconds(_ request: EngineRequest) -> Double {
        let completion =
            request.sampling.endsAtLimit ? request.maxTokens : min(request.maxTokens, likelyTokens)
        return times.seconds(promptTokens: request.prompt.count, completionTokens: completion) ?? 0
    }
}
