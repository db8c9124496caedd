import NanoDevice
import NanoTokenizer

/// The engine: a loop on its own thread that owns all mutable state.
///
/// Read ``step()`` first. In: requests from the ``EngineInbox``. Out: events to each request.
struct EngineLoop: ~Copyable {
    private let inbox: EngineInbox
    private let pipeline: Pipeline
    private var schedulesAhead: Bool
    private let tokenizer: Tokenizer
    private let counters: StepCounters
    /// Names the blocks of a sequence without tokens; nil: none are named.
    private let blockNamer: BlockNamer?
    private var scheduler: Scheduler
    private var requests: [SequenceID: ActiveRequest] = [:]
    private var inFlight: Pipeline.Launched?
    private let diskTier: DiskTier?
    private let monitor: EngineMonitor
    private var status: EngineStatus
    private let serving: ServingChoice
    private var times = StepForecast()
    /// When the last step ended, or the engine had nothing to do last.
    private var lastEnd: UInt64 = 0
    private var nextTimeoutCheck: UInt64 = 0

    init(
        inbox: EngineInbox, pipeline: Pipeline, tokenizer: Tokenizer, settings: EngineSettings,
        blockNamer: BlockNamer?, counters: StepCounters, diskTier: DiskTier?,
        monitor: EngineMonitor
    ) {
        self.diskTier = diskTier
        self.monitor = monitor
        status = monitor.status
        serving = settings.serving
        self.blockNamer = blockNamer
        self.inbox = inbox
        self.pipeline = pipeline
        self.tokenizer = tokenizer
        self.counters = counters
        scheduler = Scheduler(
            settings.limits, tier: diskTier?.index, runID: .random(in: .min ... .max))
        schedulesAhead = true
        choose(settings.pipeline)
    }

    private mutating func choose(_ choice: PipelineChoice) {
        pipeline.planner.choose(choice.mode, table: choice.plans)
        schedulesAhead = choice.schedulesAhead
        scheduler.setTokenBudget(
            choice.tokenBudget
                ?? pipeline.planner.tokenBudget(limit: scheduler.limits.batchedTokens))
    }

    /// Serves until the inbox is closed, then ends what is left.
    mutating func run() {
        while true {
            // Read before the flag, so that a close after it rings once more.
            let rings = inbox.rings
            if inbox.isClosed { break }
            if !step() { inbox.awaitRing(after: rings) }
        }
        if let last = inFlight { pipeline.wait(for: last) }
        admit(inbox.drain())
        for id in requests.keys.sorted() { end(id, .abort) }
        diskTier?.close()
    }

    /// One step: launch the next batch, then settle the one before it while the next one runs.
    ///
    /// Returns false when there was nothing to do.
    private mutating func step() -> Bool {
        if !schedulesAhead, let previous = inFlight {
            settle(previous)
            inFlight = nil
        }
        if inFlight == nil { lastEnd = monotonicNanoseconds() }
        admit(inbox.drain())
        endTransfers()
        let waiting = scheduler.waitingCount
        let batch = scheduler.schedule { [times, serving] decodes in
            times.prefillBudget(
                share: serving.prefillShare, decodes: decodes, waiting: waiting)
        }
        let launched = batch.map { launch($0) }
        // Not before those had their chance that can begin now.
        endOverdue()
        let previous = inFlight
        inFlight = launched
        if let previous { settle(previous) }
        diskTier?.begin(scheduler.takeTransfers())
        publish()
        return launched != nil || previous != nil
    }

    /// The disk tier rings the inbox when there is something to take.
    private mutating func endTransfers() {
        guard let diskTier, scheduler.isMoving else { return }
        for completion in diskTier.drain() {
            monitor.noteProgress()
            scheduler.end(transfer: completion.ticket, succeeded: completion.outcome == .done)
        }
    }

    private mutating func publish() {
        status.update(scheduler)
        status.queuedSeconds = inbox.queuedSeconds
        if let diskTier { status.diskChecksumFaults = diskTier.checksumFaults }
        monitor.status = status
        inbox.note(forecast)
    }

    private var forecast: QueueForecast {
        QueueForecast(
            times: times, likelyTokens: scheduler.likelyTokens,
            sequences: scheduler.limits.sequences, fittingSequences: scheduler.fittingSequences)
    }

    private mutating func admit(_ messages: [EngineInbox.Message]) {
        for message in messages {
            switch message {
            case .submit(let id, let request, let seconds): add(id, request, seconds)
            case .abort(let id):
                if requests[id] != nil { end(id, .abort) }
            case .choose(let choice): choose(choice)
            }
        }
    }

    private mutating func add(
        _ id: SequenceID, _ request: EngineRequest, _ queuedSeconds: Double
    ) {
        let active = ActiveRequest(
            request, blockNamer, endTokens: tokenizer.endOfGenerationTokens,
            queuedSeconds: queuedSeconds)
        requests[id] = active
        let forecast = forecast
        let cost = forecast.cost(
            promptTokens: request.prompt.count,
            completionTokens: forecast.completionTokens(request))
        scheduler.add(
            id, promptCount: request.prompt.count, maxTokens: request.maxTokens,
            scoresPrompt: request.sampling.promptLogprobCount != nil,
            endsAtLimit: request.sampling.endsAtLimit, level: request.priority,
            share: request.tenant.map { TenantShare(tenant: $0, cost: cost) },
            names: active.blockNames)
    }

    /// Gives up requests that have waited too long to begin; looked at once in a while.
    private mutating func endOverdue() {
        guard let limit = serving.maxWaitingSeconds, scheduler.waitingCount > 0 else { return }
        let now = monotonicNanoseconds()
        guard now >= nextTimeoutCheck else { return }
        nextTimeoutCheck = now + UInt64(1e9 * min(0.1, limit / 2))
        let overdue = requests.filter {
            !$0.value.hasBegun && Double(now &- $0.value.arrival) / 1e9 > limit
        }
        for id in overdue.keys.sorted() { fail(id, .waitedTooLong(limit, status.queuedSeconds)) }
    }

    private mutating func launch(_ batch: Batch) -> Pipeline.Launched {
        let now = monotonicNanoseconds()
        for item in batch.items {
            guard let request = requests[item.sequence], !request.hasBegun else { continue }
            request.begin(at: item.positions.lowerBound, now: now)
            status.promptTokens += request.prompt.count
            status.cachedPromptTokens += item.positions.lowerBound
            inbox.leaveQueue(request)
            pipeline.tables.begin(
                slot: item.slot, prompt: request.prompt, sampling: request.sampling,
                biases: request.biases)
        }
        let launched = pipeline.launch(batch)
        counters.count(batch, nanoBatchCount: launched.nanoBatchCount)
        return launched
    }

    /// Reads the results of a step, tests the ends, tells the requests.
    private mutating func settle(_ step: Pipeline.Launched) {
        pipeline.wait(for: step)
        noteTime(of: step.batch)
        for item in step.batch.items {
            guard let names = requests[item.sequence]?.blockNames else { continue }
            scheduler.name(
                names, of: item.sequence, computedCount: item.positions.upperBound,
                step: step.batch.step)
        }
        scheduler.complete(step: step.batch.step)
        // A sequence that ended one step ago is still in this one; its token is discarded.
        for (index, item) in step.batch.items.enumerated() where requests[item.sequence] != nil {
            switch item.logits {
            case .none: break
            case .last: settleToken(item.sequence, step, index, row: 0)
            case .all: settleScores(item, step, index)
            }
        }
    }

    private mutating func noteTime(of batch: Batch) {
        let now = monotonicNanoseconds()
        let decodes = batch.items.count { $0.positions.count == 1 && $0.logits == .last }
        times.add(
            seconds: Double(now &- lastEnd) / 1e9, decodes: decodes,
            prefillTokens: batch.tokenCount - decodes)
        lastEnd = now
        monitor.noteProgress()
        monitor.add(StepLoad(batch), now: now)
        monitor.metrics.add { $0.stepTokens.add(Double(batch.tokenCount)) }
    }

    private mutating func settleToken(
        _ id: SequenceID, _ step: Pipeline.Launched, _ item: Int, row: Int
    ) {
        let (result, alternatives) = pipeline.result(of: step, item: item, row: row)
        status.generatedTokens += 1
        let token = GeneratedToken(
            id: Int(result.token), bytes: tokenizer.textBytes(of: Int(result.token)),
            logprob: result.logprob.isNaN ? nil : Double(result.logprob),
            alternatives: alternatives.map(TokenLogprob.init))
        guard let request = requests[id] else { return }
        noteLatency(of: request)
        if let reason = request.accept(token, now: lastEnd) { end(id, reason) }
    }

    private func noteLatency(of request: ActiveRequest) {
        let isFirst = request.completionTokens == 0
        let start = isFirst ? request.arrival : request.lastToken
        let seconds = Double(lastEnd &- start) / 1e9
        monitor.metrics.add { values in
            if isFirst {
                values.timeToFirstToken.add(seconds)
            } else {
                values.interTokenLatency.add(seconds)
            }
        }
    }

    private mutating func settleScores(
        _ item: Batch.Item, _ step: Pipeline.Launched, _ index: Int
    ) {
        let id = item.sequence
        guard let request = requests[id] else { return }
        let count = request.prompt.count
        for (row, position) in item.positions.enumerated() where position + 1 < count {
            let (result, alternatives) = pipeline.result(of: step, item: index, row: row)
            let token = PromptToken(
                id: Int(result.token), logprob: Double(result.logprob), rank: Int(result.rank),
                alternatives: alternatives.map(TokenLogprob.init))
            request.score(position + 1, token)
        }
        guard item.positions.upperBound == count else { return }
        request.tellScores()
        if request.maxTokens == 0 {
            end(id, .length)
        } else {
            settleToken(id, step, index, row: item.positions.count - 1)
        }
    }

    private mutating func end(_ id: SequenceID, _ reason: FinishReason) {
        guard let request = remove(id, completionCounts: reason != .abort) else { return }
        let timings = request.timings(now: monotonicNanoseconds())
        monitor.metrics.add { $0.add(request, reason, timings) }
        // Who hears of the end finds it counted.
        publish()
        request.finish(reason, timings)
    }

    private mutating func fail(_ id: SequenceID, _ error: NanoFlowError) {
        guard let request = remove(id, completionCounts: false) else { return }
        status.overdueRequests += 1
        publish()
        request.fail(error)
    }

    private mutating func remove(_ id: SequenceID, completionCounts: Bool) -> ActiveRequest? {
        guard let request = requests.removeValue(forKey: id) else { return nil }
        let hasCompletion = completionCounts && request.completionTokens > 0
        let cost = forecast.cost(
            promptTokens: request.computedPromptTokens,
            completionTokens: request.completionTokens)
        scheduler.end(
            id, completionTokens: hasCompletion ? request.completionTokens : nil, cost: cost)
        if !request.hasBegun { inbox.leaveQueue(request) }
        inbox.end(request)
        return request
    }
}

extension TokenLogprob {
    fileprivate init(_ pair: TokenLogprobPair) {
        self.init(token: Int(pair.token), logprob: Double(pair.logprob))
    }
}

extension NanoFlowError {
    fileprivate static func waitedTooLong(_ limit: Double, _ queued: Double) -> NanoFlowError {
        NanoFlowError(
            .waitedTooLong, field: "waiting time", limit: "at most \(limit) s", given: "more",
            message: "The request has waited \(limit) s for its turn, and waits no longer.",
            retryAfter: queued)
    }
}
