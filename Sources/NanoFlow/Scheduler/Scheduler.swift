/// Decides which tokens of which sequences run in the next step.
///
/// In: sequences that the engine adds and ends. Out: one ``Batch`` a step. Next: `Pipeline/`.
///
/// Pure bookkeeping on integers. Steps are launched before the ones before them have completed, so
/// the scheduler counts tokens that are still being computed as there: `tokenCount` runs ahead,
/// ends by length are known beforehand, and what a sequence gives back (slot, blocks) is free when
/// the last step that includes it has completed.
///
/// A sequence is admitted where the predicted peak of block use fits (``BlockForecast``). It uses the
/// blocks of the longest prefix that the cache still knows, its own or another's, waits while those
/// that the tier below has are fetched, and computes what follows; its last token is always computed,
/// for the logits.
///
/// When blocks run out since the forecast was wrong, the sequence with the largest key gives up its
/// blocks. The full ones have gone to the tier, if there is one, and come back from there; without
/// one, what has been taken by then is computed anew. Its tokens stay in its slot. The pool holds at
/// least one sequence of the longest length, and the running sequence with the smallest key never
/// gives up: so all finish.
package struct Scheduler {
    /// The sizes that are fixed at start.
    package struct Limits: Sendable, Hashable {
        /// Sequences that run or are preempted: slots.
        package var sequences: Int
        /// Tokens in one step.
        package var batchedTokens: Int
        /// Rows that one step can take through the LM head.
        package var logitRows: Int
        package var blockSize: Int
        package var blockCount: Int
        /// Tokens of one sequence, prompt and completion.
        package var sequenceLength: Int

        package init(
            sequences: Int, batchedTokens: Int, logitRows: Int, blockSize: Int, blockCount: Int,
            sequenceLength: Int
        ) {
            self.sequences = sequences
            self.batchedTokens = batchedTokens
            self.logitRows = logitRows
            self.blockSize = blockSize
            self.blockCount = blockCount
            self.sequenceLength = sequenceLength
        }

        /// Blocks for `tokens` tokens.
        package func blocks(for tokens: Int) -> Int { (tokens + blockSize - 1) / blockSize }
    }

    package let limits: Limits
    let runID: UInt64
    /// Tokens that a step is formed of at most; no more than the limit.
    private var tokenBudget: Int
    /// The newest step handed out, and the newest one that has completed.
    package private(set) var step = 0
    package private(set) var completedStep = 0

    // Both in the order of their keys.
    private(set) var waiting: [SequenceID] = []
    private(set) var running: [SequenceID] = []
    /// Those whose peak of block use was predicted when a sequence was last admitted.
    private(set) var peakSequences = 0
    private(set) var fetching: Set<SequenceID> = []
    private(set) var sequences: [SequenceID: ScheduledSequence] = [:]
    private var freeSlots: [Int]
    private var returningSlots: [(step: Int, slot: Int)] = []
    var cache: BlockCache
    private(set) var lengths = CompletionLengths()
    private var tenants = TenantTurns()
    package private(set) var counts = Counts()

    /// - Parameters:
    ///   - limits: The sizes.
    ///   - tier: What there is below memory, if anything.
    ///   - runID: Tells the engine's runs apart where the tier outlives them.
    package init(_ limits: Limits, tier: TierIndex? = nil, runID: UInt64 = 0) {
        self.runID = runID
        precondition(
            limits.blockCount >= limits.blocks(for: limits.sequenceLength),
            "The pool must hold one sequence of the longest length.")
        precondition(
            limits.sequences > 0 && limits.batchedTokens > 0 && limits.logitRows > 0,
            "A step must have room for a token.")
        self.limits = limits
        tokenBudget = limits.batchedTokens
        freeSlots = (0..<limits.sequences).reversed()
        cache = BlockCache(blockCount: limits.blockCount, tier: tier)
    }

    /// Forms steps of at most so many tokens from now on; nil: as many as the limit allows.
    package mutating func setTokenBudget(_ tokens: Int?) {
        tokenBudget = min(max(1, tokens ?? limits.batchedTokens), limits.batchedTokens)
    }

    package var waitingCount: Int { waiting.count }
    package var runningCount: Int { running.count }
    package var freeBlockCount: Int { cache.pool.freeCount }
    package var transferCounts: BlockCache.Counts { cache.counts }
    package var preemptionCount: Int { counts.preemptions }
    package var isIdle: Bool { sequences.isEmpty }

    // MARK: - Sequences come and go

    /// Adds a sequence to the end of the queue.
    ///
    /// - Parameters:
    ///   - id: A name that no sequence has had before.
    ///   - promptCount: Tokens known beforehand, at least 1.
    ///   - maxTokens: Tokens to sample at most, at least 1, or 0 where `scoresPrompt`.
    ///   - scoresPrompt: The prompt's own tokens are scored, so that all of them are computed.
    ///   - endsAtLimit: Nothing ends it before `maxTokens`.
    ///   - level: Of priority; those of lower levels go first, see ``SequenceKey``.
    ///   - share: Whose it is among those who share the machine, and what it costs; nil: nobody's.
    ///   - names: Of the prompt's full blocks; none: nothing is used again.
    package mutating func add(
        _ id: SequenceID, promptCount: Int, maxTokens: Int, scoresPrompt: Bool = false,
        endsAtLimit: Bool = false, level: Int = 0, share: TenantShare? = nil,
        names: [BlockName] = []
    ) {
        precondition(sequences[id] == nil, "Sequence \(id) was added twice.")
        precondition(
            promptCount > 0 && maxTokens >= (scoresPrompt ? 0 : 1)
                && promptCount + max(1, maxTokens) <= limits.sequenceLength,
            "A sequence must fit the context; validation comes before.")
        let turn = tenants.turn(of: share, step: step)
        sequences[id] = ScheduledSequence(
            key: SequenceKey(step: turn, level: level, id: id), turn: turn, share: share,
            promptCount: promptCount, maxTokens: maxTokens, scoresPrompt: scoresPrompt,
            endsAtLimit: endsAtLimit, names: names)
        waiting.insert(id, at: place(of: id, in: waiting))
    }

    /// Where a sequence belongs in a list; mostly at its end.
    private func place(of id: SequenceID, in list: [SequenceID]) -> Int {
        guard let key = sequences[id]?.key else { return list.count }
        let before = list.lastIndex { sequences[$0].map { $0.key < key } ?? false }
        return before.map { $0 + 1 } ?? 0
    }

    /// Names the blocks of a sequence that a step has filled; to be called before the step is
    /// completed.
    ///
    /// - Parameters:
    ///   - names: Of all its full blocks, from the first.
    ///   - id: The sequence.
    ///   - count: Positions that are computed now.
    ///   - step: The step that computed the last of them.
    package mutating func name(
        _ names: [BlockName], of id: SequenceID, computedCount count: Int, step: Int
    ) {
        // A step from before it was admitted again has filled blocks that are others' now.
        guard let sequence = sequences[id], step >= sequence.admissionStep else { return }
        let blocks = sequence.isRunning ? sequence.blocks : sequence.leftBlocks
        let full = min(count / limits.blockSize, names.count, blocks.count)
        guard full > sequence.namedCount else { return }
        for index in sequence.namedCount..<full { cache.name(blocks[index], names[index]) }
        sequences[id]?.names = names
        sequences[id]?.namedCount = full
    }

    /// Ends a sequence, wherever it stands: it is in no batch formed from now on.
    ///
    /// - Parameters:
    ///   - id: The sequence.
    ///   - completionTokens: How long its completion has become; nil: it was cut short, and says
    ///     nothing about others.
    ///   - cost: What it has cost in the end, in the unit of its share; nil: what was predicted.
    package mutating func end(
        _ id: SequenceID, completionTokens: Int? = nil, cost: Double? = nil
    ) {
        guard let sequence = sequences.removeValue(forKey: id) else { return }
        if let share = sequence.share, let cost { tenants.settle(share, cost: cost) }
        waiting.removeAll { $0 == id }
        running.removeAll { $0 == id }
        if fetching.remove(id) != nil { cache.abandonFetch(for: id) }
        if let tail = sequence.tail { cache.forget(tail.name) }
        cache.giveBack(sequence.blocks, after: sequence.lastStep, completedStep: completedStep)
        if let completionTokens {
            observe(completionTokens: completionTokens, predicted: sequence.predictedTokens)
        }
        if sequences.isEmpty { tenants.rest() }
        guard let slot = sequence.slot else { return }
        if sequence.lastStep <= completedStep {
            freeSlots.append(slot)
        } else {
            returningSlots.append((sequence.lastStep, slot))
        }
    }

    /// Notes how long a completion has become, for the forecast.
    package mutating func observe(completionTokens: Int, predicted: Int? = nil) {
        lengths.add(completionTokens)
        guard let predicted else { return }
        counts.predictedTokens += predicted
        counts.completedTokens += completionTokens
    }

    /// Notes that the step has completed: what waited for it is free.
    package mutating func complete(step: Int) {
        precondition(
            step == completedStep + 1 && step <= self.step, "Steps complete in their order.")
        completedStep = step
        cache.complete(step: step)
        for entry in returningSlots where entry.step <= step { freeSlots.append(entry.slot) }
        returningSlots.removeAll { $0.step <= step }
    }

    // MARK: - The tier below

    /// The transfers to begin now, in their order.
    package mutating func takeTransfers() -> [TierTransfer] { cache.takeTransfers() }

    /// Whether blocks are on their way.
    package var isMoving: Bool { cache.isMoving }

    /// Notes that a transfer has ended.
    ///
    /// What could not be fetched will be computed.
    package mutating func end(transfer ticket: Int, succeeded: Bool) {
        guard let come = cache.end(transfer: ticket, succeeded: succeeded) else { return }
        fetching.remove(come.sequence)
        sequences[come.sequence]?.blocks += come.blocks
        run(come.sequence)
    }

    // MARK: - One step

    /// Forms the next batch; nil when no sequence can go on before a step in flight completes, or a
    /// transfer ends.
    ///
    /// - Parameter prefillBudget: Tokens of prompts that may go beside so many decodes; nil: all that
    ///   there is room for.
    /// - Returns: The batch, with at least one item.
    package mutating func schedule(prefillBudget: (Int) -> Int? = { _ in nil }) -> Batch? {
        var forming = FormingBatch(
            step: step + 1, tokenBudget: tokenBudget, logitBudget: limits.logitRows)
        // Decodes first: they are short and someone is waiting for each.
        for id in running where isDecode(id) { extend(id, &forming) }
        forming.limitTokens(prefillBudget(forming.batch.items.count))
        for id in running where !isDecode(id) { extend(id, &forming) }
        if forming.shortage == 0 { admit(&forming) }
        counts.mostUsedBlocks = max(counts.mostUsedBlocks, cache.pool.usedCount)
        guard !forming.batch.items.isEmpty else { return nil }
        step += 1
        return forming.batch
    }

    private func isDecode(_ id: SequenceID) -> Bool {
        sequences[id].map { $0.remainingCount == 1 } ?? false
    }

    private mutating func admit(_ forming: inout FormingBatch) {
        while forming.hasRoom, let id = waiting.first,
            let sequence = sequences[id], sequence.slot != nil || !freeSlots.isEmpty,
            // A step in flight may still read the block table of one preempted just now.
            sequence.lastStep <= completedStep
        {
            let found = findBlocks(of: sequence)
            guard !cache.isMoving(found.absent), let peak = peak(with: id, found) else { return }
            counts.predictedPeakBlocks = peak
            peakSequences = running.count + fetching.count + 1
            let predicted = predictedTokens(
                of: sequence, id, among: running.count + fetching.count + 1)
            sequences[id]?.predictedTokens = sequence.predictedTokens ?? predicted
            waiting.removeFirst()
            if sequence.slot == nil {
                sequences[id]?.slot = freeSlots.removeLast()
                if sequence.share != nil { tenants.begin(sequence.turn) }
            }
            cache.use(found.known, found.names)
            sequences[id]?.blocks = found.known
            if let tail = sequence.tail, found.names.last != tail.name {
                cache.forget(tail.name)
                sequences[id]?.tail = nil
            }
            if !found.fetchable.isEmpty, cache.fetch(found.fetchable, for: id) {
                sequences[id]?.state = .fetching
                fetching.insert(id)
            } else {
                run(id)
                extend(id, &forming)
            }
        }
    }

    private mutating func run(_ id: SequenceID) {
        // It goes on writing to the tail.
        if let tail = sequences[id]?.tail { cache.forget(tail.name) }
        sequences[id]?.resume(blockSize: limits.blockSize, step: step + 1)
        running.insert(id, at: place(of: id, in: running))
    }

    /// Puts as much of the sequence into the batch as budgets and blocks allow.
    private mutating func extend(_ id: SequenceID, _ forming: inout FormingBatch) {
        // The loops over `running` see it as it was; a sequence may have been preempted since.
        guard var sequence = sequences[id], sequence.isRunning, sequence.remainingCount > 0 else {
            return
        }
        var count = min(sequence.remainingCount, forming.tokenBudget)
        if sequence.isScoring { count = min(count, forming.logitBudget) }
        let reachesEnd = sequence.computedCount + count == sequence.tokenCount
        guard count > 0, sequence.isScoring || !reachesEnd || forming.logitBudget > 0 else {
            return
        }

        let end = sequence.computedCount + count
        let missing = limits.blocks(for: end) - sequence.blocks.count
        let told = sequence.toldCount
        if missing > 0, !cache.take(missing, appendingTo: &sequence.blocks) {
            forming.shortage += missing
            preemptLast(behind: id, &forming)
            // What no step in flight touches is free at once.
            guard cache.take(missing, appendingTo: &sequence.blocks) else { return }
            forming.shortage -= missing
        }
        let item = Batch.Item(
            sequence: id, slot: sequence.slot ?? 0,
            positions: sequence.computedCount..<end,
            logits: sequence.isScoring ? .all : reachesEnd ? .last : .none,
            firstNewBlock: told, newBlocks: sequence.blocks[told...])
        sequence.advance(to: end, reachesEnd: reachesEnd, step: forming.batch.step)
        sequences[id] = sequence
        forming.append(item)
    }

    /// Takes the blocks of sequences behind `id` until the shortage will be met by what returns.
    private mutating func preemptLast(behind id: SequenceID, _ forming: inout FormingBatch) {
        while forming.shortage > cache.pool.freeCount + cache.pool.returningCount,
            let victim = running.last, victim != id, !forming.contains(victim)
        {
            preempt(victim)
        }
    }

    private mutating func preempt(_ id: SequenceID) {
        guard var sequence = sequences[id] else { return }
        running.removeAll { $0 == id }
        sequence.tail = leaveTail(of: sequence, id)
        cache.giveBack(sequence.blocks, after: sequence.lastStep, completedStep: completedStep)
        let isInFlight = sequence.lastStep > completedStep
        sequence.giveUpBlocks(left: isInFlight ? sequence.blocks : [])
        sequences[id] = sequence
        waiting.insert(id, at: place(of: id, in: waiting))
        counts.preemptions += 1
    }

    // MARK: - Invariants

    /// Checks what must hold after every call; for tests.
    package func checkInvariants() {
        cache.checkInvariants(owned: sequences.values.map(\.blocks))
        precondition(
            Set(waiting).union(running).union(fetching) == Set(sequences.keys)
                && waiting.count + running.count + fetching.count == sequences.count,
            "Every sequence waits, fetches or runs.")
        for list in [waiting, running] {
            let keys = list.compactMap { sequences[$0]?.key }
            precondition(keys == keys.sorted(), "Sequences stand in the order of their keys.")
        }
        let slots = freeSlots + returningSlots.map(\.slot) + sequences.values.compactMap(\.slot)
        precondition(slots.sorted() == Array(0..<limits.sequences), "A slot was lost or doubled.")
        for sequence in sequences.values {
            precondition(
                sequence.computedCount <= sequence.tokenCount
                    && sequence.tokenCount <= sequence.endCount,
                "A sequence has computed what it has.")
            guard sequence.state != .fetching else { continue }
            precondition(
                sequence.blocks.count == limits.blocks(for: sequence.computedCount)
                    && (sequence.toldCount == sequence.blocks.count
                        || sequence.lastStep < sequence.admissionStep),
                "A sequence holds exactly the blocks of its computed tokens.")
        }
    }
}
