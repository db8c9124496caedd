import NanoDevice

/// The way into the engine: requests and aborts from any thread, drained once a step.
package final class EngineInbox: Sendable {
    enum Message: Sendable {
        case submit(SequenceID, EngineRequest, queuedSeconds: Double)
        case abort(SequenceID)
        case choose(PipelineChoice)
    }

    private struct State: Sendable {
        var messages: [Message] = []
        var nextID: SequenceID = 1
        var load = QueueLoad()
        var isClosed = false
        var forecast = QueueForecast()
        /// When there was something to do again.
        var busySince: UInt64 = 0
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
    package var unfinishedCount: Int { state.withLock(\.load.total.count) }

    /// Seconds that requests which have not begun are predicted to take.
    var queuedSeconds: Double { state.withLock(\.load.total.queuedSeconds) }

    /// Queues a request.
    ///
    /// - Throws: ``NanoFlowError`` when the queue is full or the engine has stopped.
    package func submit(_ request: EngineRequest) throws(NanoFlowError) -> SequenceID {
        try submit([request])
    }

    /// Queues several requests of one tenant, which the engine finds at once and in their order.
    ///
    /// - Returns: The name of the first; the others' follow.
    /// - Throws: ``NanoFlowError`` when the queue has no room for all or the engine has stopped.
    package func submit(_ requests: [EngineRequest]) throws(NanoFlowError) -> SequenceID {
        let first = try state.withLock { state throws(NanoFlowError) in
            guard !state.isClosed else { throw .engineStopped }
            let before = state.load.total.count
            let seconds = requests.enumerated().map { index, request in
                state.forecast.seconds(request, behind: before + index) ?? 0
            }
            try check(requests, seconds, state.load)
            let first = state.nextID
            if before == 0 { state.busySince = monotonicNanoseconds() }
            for (index, (request, seconds)) in zip(requests, seconds).enumerated() {
                state.load.add(request, queuedSeconds: seconds)
                state.messages.append(.submit(first + index, request, queuedSeconds: seconds))
            }
            state.nextID += requests.count
            return first
        }
        ring()
        return first
    }

    /// - Throws: ``NanoFlowError`` where there is no room, or never will be.
    private func check(
        _ requests: [EngineRequest], _ seconds: [Double], _ load: QueueLoad
    ) throws(NanoFlowError) {
        let tokens = requests.reduce(0) { $0 + $1.prompt.count }
        guard requests.count <= capacity else {
            throw NanoFlowError(
                .invalidRequest, field: "n", limit: "at most \(capacity) choices",
                given: "\(requests.count)")
        }
        guard tokens <= tokenCapacity else {
            throw NanoFlowError(
                .invalidRequest, field: "prompt",
                limit: "at most \(tokenCapacity) tokens of prompts in all choices",
                given: "\(tokens)")
        }
        let tenant = requests.first?.tenant
        let (own, total) = (load[tenant], load.total)
        let waiting = load.waitingSeconds(of: tenant, asking: seconds.reduce(0, +))
        func of(_ count: Int) -> String { tenant == nil ? "" : ", \(count) of them with this key" }
        guard hasRoom(requests.count, tenant, own.count, of: total.count, limit: capacity) else {
            throw NanoFlowError(
                .queueFull, field: "requests", limit: "\(capacity) at once",
                given: "\(total.count + requests.count)",
                message: "The queue is full: \(total.count) of \(capacity) requests are running or "
                    + "waiting\(of(own.count)), and \(requests.count) more have come.",
                retryAfter: waiting)
        }
        if let maxQueuedSeconds, waiting > maxQueuedSeconds {
            throw NanoFlowError(
                .queueFull, field: "waiting time", limit: "\(maxQueuedSeconds) s",
                given: "\(waiting) s",
                message: "The requests that wait already need about "
                    + "\(Int(waiting.rounded(.up))) s, and a request may wait "
                    + "\(maxQueuedSeconds) s.",
                retryAfter: waiting - maxQueuedSeconds)
        }
        guard hasRoom(tokens, tenant, own.tokens, of: total.tokens, limit: tokenCapacity) else {
            throw NanoFlowError(
                .queueFull, field: "prompt tokens", limit: "\(tokenCapacity) at once",
                given: "\(total.tokens + tokens)",
                message: "The queue is full: the prompts that run or wait have \(total.tokens) "
                    + "tokens\(of(own.tokens)), and \(tokenCapacity) may.",
                retryAfter: waiting)
        }
    }

    /// A tenant may hold no more than was free, so that it does not fill up what is there for all.
    private func hasRoom(
        _ wanted: Int, _ tenant: Int?, _ own: Int, of total: Int, limit: Int
    ) -> Bool {
        (tenant == nil ? wanted : own + wanted) <= limit - total
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
            return state.messages
        }
    }

    /// Notes how the time of those that come is predicted from now on.
    func note(_ forecast: QueueForecast) {
        state.withLock { $0.forecast = forecast }
    }

    /// Notes that a request has begun, or will not.
    func leaveQueue(_ request: ActiveRequest) {
        let (tenant, seconds) = (request.tenant, request.queuedSeconds)
        state.withLock { $0.load.leaveQueue(tenant, queuedSeconds: seconds) }
    }

    /// Notes that a request has ended.
    func end(_ request: ActiveRequest) {
        let (tenant, count) = (request.tenant, request.prompt.count)
        state.withLock { $0.load.end(tenant, promptTokens: count) }
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
