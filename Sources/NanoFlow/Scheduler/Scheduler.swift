/// Decides which tokens of which sequences run in the next step.
///
/// In: sequences that the engine adds and ends. Out: one ``Batch`` a step. Next: `Pipeline/`.
///
/// Pure bookkeeping on integers. Steps are launched before the ones before them have completed, so
/// the scheduler counts tokens that are still being computed as there: `tokenCount` runs ahead,
/// ends by length are known beforehand, and what a sequence gives back (slot, blocks) is free when
/// the last step that includes it has completed.
///
/// A sequence that is admitted uses the blocks of the longest prefix that the pool still knows, its
/// own or another's, and computes what follows; its last token is always computed, for the logits.
///
/// When blocks run out, the sequence admitted last gives up its blocks, and computes anew later what
/// has been taken by then; its tokens stay in its slot. The pool holds at least one sequence of the longest length, and the
/// sequence admitted first is never the one that gives up while others run: so all finish.
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
    /// Tokens that a step is formed of at most; no more than the limit.
    private var tokenBudget: Int
    /// The newest step handed out, and the newest one that has completed.
    package private(set) var step = 0
    package private(set) var completedStep = 0
    package private(set) var preemptionCount = 0

    // Waiting sequences come first-come first-served; preempted ones stand before the others.
    private var waiting: [SequenceID] = []
    // In the order of admission.
    private var running: [SequenceID] = []
    private var sequences: [SequenceID: ScheduledSequence] = [:]
    private var freeSlots: [Int]
    private var returningSlots: [(step: Int, slot: Int)] = []
    private var pool: BlockPool

    package init(_ limits: Limits) {
        precondition(
            limits.blockCount >= limits.blocks(for: limits.sequenceLength),
            "The pool must hold one sequence of the longest length.")
        precondition(
            limits.sequences > 0 && limits.batchedTokens > 0 && limits.logitRows > 0,
            "A step must have room for a token.")
        self.limits = limits
        tokenBudget = limits.batchedTokens
        freeSlots = (0..<limits.sequences).reversed()
        pool = BlockPool(blockCount: limits.blockCount)
    }

    /// Forms steps of at most so many tokens from now on; nil: as many as the limit allows.
    package mutating func setTokenBudget(_ tokens: Int?) {
        tokenBudget = min(max(1, tokens ?? limits.batchedTokens), limits.batchedTokens)
    }

    package var waitingCount: Int { waiting.count }
    package var runningCount: Int { running.count }
    package var freeBlockCount: Int { pool.freeCount }
    package var isIdle: Bool { sequences.isEmpty }

    // MARK: - Sequences come and go

    /// Adds a sequence to the end of the queue.
    ///
    /// - Parameters:
    ///   - id: A name that no sequence has had before.
    ///   - promptCount: Tokens known beforehand, at least 1.
    ///   - maxTokens: Tokens to sample at most, at least 1; ignored where `isScored`.
    ///   - isScored: Nothing is sampled; the prompt's own tokens are scored, so that all of them are
    ///     computed.
    ///   - names: Of the prompt's full blocks; none: nothing is used again.
    package mutating func add(
        _ id: SequenceID, promptCount: Int, maxTokens: Int, isScored: Bool = false,
        names: [BlockName] = []
    ) {
        precondition(sequences[id] == nil, "Sequence \(id) was added twice.")
        precondition(
            promptCount > 0 && maxTokens > 0
                && promptCount + (isScored ? 0 : maxTokens) <= limits.sequenceLength,
            "A sequence must fit the context; validation comes before.")
        sequences[id] = ScheduledSequence(
            tokenCount: promptCount, endCount: promptCount + (isScored ? 1 : maxTokens),
            isScored: isScored)
        sequences[id]?.names = names
        waiting.append(id)
    }

    /// Names the blocks of a sequence that a completed step has filled.
    ///
    /// - Parameters:
    ///   - names: Of all its full blocks, from the first.
    ///   - id: The sequence.
    ///   - count: Positions that are computed now.
    ///   - step: The step that computed the last of them.
    package mutating func name(
        _ names: [BlockName], of id: SequenceID, computedCount count: Int, step: Int
    ) {
        // Where it has given up its blocks since, they are others now.
        guard let sequence = sequences[id], sequence.isRunning, step >= sequence.admissionStep
        else {
            return
        }
        let full = min(count / limits.blockSize, names.count)
        guard full > sequence.namedCount else { return }
        for index in sequence.namedCount..<full { pool.name(sequence.blocks[index], names[index]) }
        sequences[id]?.names = names
        sequences[id]?.namedCount = full
    }

    /// Ends a sequence, wherever it stands: it is in no batch formed from now on.
    package mutating func end(_ id: SequenceID) {
        guard let sequence = sequences.removeValue(forKey: id) else { return }
        waiting.removeAll { $0 == id }
        running.removeAll { $0 == id }
        pool.giveBack(
            sequence.blocks, after: sequence.lastStep, completedStep: completedStep)
        guard let slot = sequence.slot else { return }
        if sequence.lastStep <= completedStep {
            freeSlots.append(slot)
        } else {
            returningSlots.append((sequence.lastStep, slot))
        }
    }

    /// Notes that the step has completed: what waited for it is free.
    package mutating func complete(step: Int) {
        precondition(
            step == completedStep + 1 && step <= self.step, "Steps complete in their order.")
        completedStep = step
        pool.complete(step: step)
        for entry in returningSlots where entry.step <= step { freeSlots.append(entry.slot) }
        returningSlots.removeAll { $0.step <= step }
    }

    // MARK: - One step

    /// Forms the next batch; nil when no sequence can go on before a step in flight completes.
    package mutating func schedule() -> Batch? {
        var forming = FormingBatch(
            batch: Batch(step: step + 1), tokenBudget: tokenBudget,
            logitBudget: limits.logitRows)
        // Decodes first: they are short and someone is waiting for each.
        for id in running where isDecode(id) { extend(id, &forming) }
        for id in running where !isDecode(id) { extend(id, &forming) }
        if forming.shortage == 0 { admit(&forming) }
        guard !forming.batch.items.isEmpty else { return nil }
        step += 1
        return forming.batch
    }

    private func isDecode(_ id: SequenceID) -> Bool {
        sequences[id].map { $0.remainingCount == 1 } ?? false
    }

    private mutating func admit(_ forming: inout FormingBatch) {
        while forming.tokenBudget > 0, forming.logitBudget > 0, let id = waiting.first,
            let sequence = sequences[id], sequence.slot != nil || !freeSlots.isEmpty,
            // A step in flight may still read the block table of one preempted just now.
            sequence.lastStep <= completedStep
        {
            // What the running ones still need for tokens they have, and a block of growth each.
            let promised = running.reduce(0) { $0 + missingBlocks(of: $1) + 1 }
            let known = pool.known(sequence.reusableNames(limits.blockSize))
            // Those that nobody uses count as free until they are used.
            let needed =
                limits.blocks(for: sequence.tokenCount) - known.blocks.count + known.retiredCount
            let room = pool.freeCount - promised
            guard needed < room || (running.isEmpty && needed <= pool.freeCount) else { return }
            waiting.removeFirst()
            running.append(id)
            if sequence.slot == nil { sequences[id]?.slot = freeSlots.removeLast() }
            pool.use(known.blocks)
            sequences[id]?.resume(
                known.blocks, blockSize: limits.blockSize, step: forming.batch.step)
            extend(id, &forming)
        }
    }

    private func missingBlocks(of id: SequenceID) -> Int {
        guard let sequence = sequences[id], sequence.remainingCount > 0 else { return 0 }
        return max(0, limits.blocks(for: sequence.tokenCount) - sequence.blocks.count)
    }

    /// Puts as much of the sequence into the batch as budgets and blocks allow.
    private mutating func extend(_ id: SequenceID, _ forming: inout FormingBatch) {
        // The loops over `running` see it as it was; a sequence may have been preempted since.
        guard var sequence = sequences[id], sequence.isRunning, sequence.remainingCount > 0 else {
            return
        }
        var count = min(sequence.remainingCount, forming.tokenBudget)
        if sequence.isScored { count = min(count, forming.logitBudget) }
        let reachesEnd = sequence.computedCount + count == sequence.tokenCount
        guard count > 0, sequence.isScored || !reachesEnd || forming.logitBudget > 0 else { return }

        let end = sequence.computedCount + count
        let missing = limits.blocks(for: end) - sequence.blocks.count
        let told = sequence.toldCount
        if missing > 0, !pool.take(missing, appendingTo: &sequence.blocks) {
            forming.shortage += missing
            preemptLast(behind: id, &forming)
            // What no step in flight touches is free at once.
            guard pool.take(missing, appendingTo: &sequence.blocks) else { return }
            forming.shortage -= missing
        }
        let item = Batch.Item(
            sequence: id, slot: sequence.slot ?? 0,
            positions: sequence.computedCount..<end,
            logits: sequence.isScored ? .all : reachesEnd ? .last : .none,
            firstNewBlock: told, newBlocks: sequence.blocks[told...])
        sequence.advance(to: end, reachesEnd: reachesEnd, step: forming.batch.step)
        sequences[id] = sequence
        forming.append(item)
    }

    /// Takes the blocks of sequences behind `id` until the shortage will be met by what returns.
    private mutating func preemptLast(behind id: SequenceID, _ forming: inout FormingBatch) {
        while forming.shortage > pool.freeCount + pool.returningCount,
            let victim = running.last, victim != id, !forming.contains(victim)
        {
            preempt(victim)
        }
    }

    private mutating func preempt(_ id: SequenceID) {
        guard var sequence = sequences[id] else { return }
        running.removeAll { $0 == id }
        waiting.insert(id, at: 0)
        pool.giveBack(sequence.blocks, after: sequence.lastStep, completedStep: completedStep)
        sequence.giveUpBlocks()
        sequences[id] = sequence
        preemptionCount += 1
    }

    // MARK: - Invariants

    /// Checks what must hold after every call; for tests.
    package func checkInvariants() {
        pool.checkInvariants(owned: sequences.values.map(\.blocks))
        precondition(
            Set(waiting).union(running) == Set(sequences.keys)
                && waiting.count + running.count == sequences.count,
            "Every sequence waits or runs.")
        let slots = freeSlots + returningSlots.map(\.slot) + sequences.values.compactMap(\.slot)
        precondition(slots.sorted() == Array(0..<limits.sequences), "A slot was lost or doubled.")
        for sequence in sequences.values {
            precondition(
                sequence.computedCount <= sequence.tokenCount
                    && sequence.tokenCount <= sequence.endCount
                    && sequence.blocks.count == limits.blocks(for: sequence.computedCount)
                    && sequence.toldCount == sequence.blocks.count,
                "A sequence holds exactly the blocks of its computed tokens.")
        }
    }
}

/// What the scheduler knows of a sequence.
///
///     0 ........ computedCount ........ tokenCount ........ endCount
///     [  in the cache, or in flight  )[ to compute )[ not sampled yet )
private struct ScheduledSequence {
    var computedCount = 0
    var tokenCount: Int
    let endCount: Int
    let isScored: Bool
    var isRunning = false
    var slot: Int?
    var blocks: [Int32] = []
    /// Of its blocks, those that the pipeline has been told.
    var toldCount = 0
    /// Of its full blocks, as far as they are known.
    var names: [BlockName] = []
    /// Of its blocks, those that have names in the pool, or have been offered one.
    var namedCount = 0
    /// The first step that included it since it began to run, the last time.
    var admissionStep = 0
    /// The last step that includes the sequence.
    var lastStep = 0

    /// Tokens to compute; the last sampled token of a full sequence is never computed.
    var remainingCount: Int { tokenCount == endCount ? 0 : tokenCount - computedCount }

    init(tokenCount: Int, endCount: Int, isScored: Bool) {
        self.tokenCount = tokenCount
        self.endCount = endCount
        self.isScored = isScored
    }

    /// The names of blocks that need not be computed: all but the last token's.
    func reusableNames(_ blockSize: Int) -> ArraySlice<BlockName> {
        isScored ? [] : names.prefix((tokenCount - 1) / blockSize)
    }

    /// Begins to run, with blocks that are known.
    mutating func resume(_ known: [Int32], blockSize: Int, step: Int) {
        isRunning = true
        blocks = known
        (computedCount, namedCount) = (known.count * blockSize, known.count)
        admissionStep = step
    }

    mutating func giveUpBlocks() {
        isRunning = false
        blocks = []
        (computedCount, toldCount, namedCount) = (0, 0, 0)
    }

    mutating func advance(to end: Int, reachesEnd: Bool, step: Int) {
        computedCount = end
        toldCount = blocks.count
        lastStep = step
        // The token that this step samples; for a scored sequence it only marks the end.
        if reachesEnd { tokenCount += 1 }
    }
}

/// A batch on its way, with what is left of the step's budgets.
private struct FormingBatch {
    var batch: Batch
    var tokenBudget: Int
    var logitBudget: Int
    /// Blocks that sequences wanted and did not get.
    var shortage = 0
    private var members: Set<SequenceID> = []

    init(batch: Batch, tokenBudget: Int, logitBudget: Int) {
        self.batch = batch
        self.tokenBudget = tokenBudget
        self.logitBudget = logitBudget
    }

    func contains(_ id: SequenceID) -> Bool { members.contains(id) }

    mutating func append(_ item: Batch.Item) {
        batch.items.append(item)
        members.insert(item.sequence)
        tokenBudget -= item.positions.count
        switch item.logits {
        case .none: break
        case .last: logitBudget -= 1
        case .all: logitBudget -= item.positions.count
        }
    }
}
