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
    private let publishedStatus: Locked<EngineStatus>
    private var status: EngineStatus

    init(
        inbox: EngineInbox, pipeline: Pipeline, tokenizer: Tokenizer, limits: Scheduler.Limits,
        choice: PipelineChoice, blockNamer: BlockNamer?, counters: StepCounters,
        diskTier: DiskTier?, status: Locked<EngineStatus>
    ) {
        self.diskTier = diskTier
        publishedStatus = status
        self.status = status.withLock { $0 }
        self.blockNamer = blockNamer
        self.inbox = inbox
        self.pipeline = pipeline
        self.tokenizer = tokenizer
        self.counters = counters
        scheduler = Scheduler(
            limits, tier: diskTier?.index, runID: .random(in: .min ... .max))
        schedulesAhead = true
        choose(choice)
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
        admit(inbox.drain())
        endTransfers()
        let launched = scheduler.schedule().map { launch($0) }
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
            scheduler.end(transfer: completion.ticket, succeeded: completion.outcome == .done)
        }
    }

    private mutating func publish() {
        status.update(scheduler)
        if let diskTier { status.diskChecksumFaults = diskTier.checksumFaults }
        let status = status
        publishedStatus.withLock { $0 = status }
    }

    private mutating func admit(_ messages: [EngineInbox.Message]) {
        for message in messages {
            switch message {
            case .submit(let id, let request):
                let active = ActiveRequest(request, blockNamer)
                requests[id] = active
                switch request.task {
                case .complete(let parameters, let maxTokens):
                    scheduler.add(
                        id, promptCount: request.prompt.count, maxTokens: maxTokens,
                        endsAtLimit: parameters.endsAtLimit, level: request.priority,
                        names: active.blockNames)
                case .score:
                    scheduler.add(
                        id, promptCount: request.prompt.count, maxTokens: 1, isScored: true)
                }
            case .abort(let id):
                if requests[id] != nil { end(id, .abort) }
            case .choose(let choice): choose(choice)
            }
        }
    }

    private mutating func launch(_ batch: Batch) -> Pipeline.Launched {
        for item in batch.items {
            guard let request = requests[item.sequence], !request.hasBegun else { continue }
            requests[item.sequence]?.begin(at: item.positions.lowerBound)
            status.promptTokens += request.prompt.count
            status.cachedPromptTokens += item.positions.lowerBound
            pipeline.tables.begin(
                slot: item.slot, prompt: request.prompt, sampling: request.slotSampling)
        }
        let launched = pipeline.launch(batch)
        counters.count(batch, nanoBatchCount: launched.nanoBatchCount)
        return launched
    }

    /// Reads the results of a step, tests the ends, tells the requests.
    private mutating func settle(_ step: Pipeline.Launched) {
        pipeline.wait(for: step)
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
            case .last: settleToken(item.sequence, step, index)
            case .all: settleScores(item, step, index)
            }
        }
    }

    private mutating func settleToken(_ id: SequenceID, _ step: Pipeline.Launched, _ item: Int) {
        let (result, alternatives) = pipeline.result(of: step, item: item)
        status.generatedTokens += 1
        let token = GeneratedToken(
            id: Int(result.token), bytes: tokenizer.textBytes(of: Int(result.token)),
            logprob: result.logprob.isNaN ? nil : Double(result.logprob),
            alternatives: alternatives.map {
                TokenLogprob(token: Int($0.token), logprob: Double($0.logprob))
            })
        if let reason = requests[id]?.accept(token, endTokens: tokenizer.endOfGenerationTokens) {
            end(id, reason)
        }
    }

    private mutating func settleScores(
        _ item: Batch.Item, _ step: Pipeline.Launched, _ index: Int
    ) {
        guard let count = requests[item.sequence]?.prompt.count else { return }
        for (row, position) in item.positions.enumerated() where position + 1 < count {
            let (result, _) = pipeline.result(of: step, item: index, row: row)
            requests[item.sequence]?.scores[position] = result.logprob
        }
        if item.positions.upperBound == count { end(item.sequence, .length) }
    }

    private mutating func end(_ id: SequenceID, _ reason: FinishReason) {
        let request = requests.removeValue(forKey: id)
        scheduler.end(id, completionTokens: reason == .abort ? nil : request?.completionTokens)
        inbox.finish(promptTokens: request?.prompt.count ?? 0)
        // Who hears of the end finds it counted.
        publish()
        request?.finish(reason)
    }
}

/// A request in the engine, with what its completion has come to.
private struct ActiveRequest {
    let prompt: [Int32]
    let slotSampling: SlotSampling
    private(set) var hasBegun = false
    private var cachedPromptTokens = 0
    private var blockNamer: BlockNamer?
    /// By position; the last position's next token is unknown.
    var scores: [Float]
    private let task: EngineRequest.Task
    private let events: AsyncStream<EngineEvent>.Continuation
    private var stopMatcher: StopMatcher
    private(set) var completionTokens = 0

    init(_ request: EngineRequest, _ blockNamer: BlockNamer?) {
        prompt = request.prompt
        self.blockNamer = blockNamer?.salted(request.cacheSalt)
        self.blockNamer?.append(request.prompt)
        task = request.task
        events = request.events
        let parameters =
            switch request.task {
            case .complete(let parameters, _): parameters
            case .score: SamplingParameters(temperature: 0)
            }
        slotSampling = SlotSampling(
            parameters, seed: parameters.seed ?? .random(in: .min ... .max),
            promptCount: prompt.count)
        stopMatcher = StopMatcher(parameters.stopStrings)
        switch request.task {
        case .complete: scores = []
        case .score: scores = [Float](repeating: 0, count: prompt.count - 1)
        }
    }

    /// Of the full blocks of all tokens that are known.
    var blockNames: [BlockName] { blockNamer?.names ?? [] }

    /// Notes that the first step begins at a position: what stands before it was in the cache.
    mutating func begin(at position: Int) {
        hasBegun = true
        cachedPromptTokens = position
    }

    /// Tells the token; returns why the completion ends with it, if it does.
    mutating func accept(_ token: GeneratedToken, endTokens: Set<Int>) -> FinishReason? {
        guard case .complete(let parameters, let maxTokens) = task else { return nil }
        completionTokens += 1
        blockNamer?.append(Int32(token.id))
        if parameters.stopTokens.contains(token.id)
            || (!parameters.ignoresEndOfSequence && endTokens.contains(token.id))
        {
            // An ending token is counted, and is no text.
            events.yield(.token(token, certain: []))
            return .stop
        }
        let (certain, isMatched) = stopMatcher.append(token.bytes)
        events.yield(.token(token, certain: certain))
        if isMatched { return .stop }
        return completionTokens == maxTokens ? .length : nil
    }

    consuming func finish(_ reason: FinishReason) {
        if !scores.isEmpty, reason != .abort { events.yield(.scores(scores)) }
        let rest = stopMatcher.finish()
        events.yield(
            .finished(
                reason, rest: rest, completionTokens: completionTokens,
                cachedPromptTokens: cachedPromptTokens))
        events.finish()
    }
}
