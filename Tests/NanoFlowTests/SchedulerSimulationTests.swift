import NanoFlow
import NanoTestSupport
import Testing

/// The scheduler under random load, driven as the engine drives it, against a device that checks.
@Suite struct SchedulerSimulationTests {
    @Test(arguments: [0, 1, 2, 3])
    func everySequenceFinishesAndReadsOnlyItsOwn(run: UInt64) {
        var reusedCount = 0
        for seed in run * 500..<(run + 1) * 500 {
            var engine = SimulatedEngine(seed: seed)
            engine.run()
            if let failure = engine.failure {
                Issue.record("seed \(seed), step \(engine.stepCount): \(failure)")
                return
            }
            reusedCount += engine.reusedCount
        }
        #expect(reusedCount > 1000)
    }

    /// The same below a tier with room for everything: each position is computed once.
    @Test func aTierThatWorksRecomputesNothing() {
        var preemptionCount = 0
        for seed in UInt64(20_000)..<20_300 {
            var engine = SimulatedEngine(seed: seed, load: .growing, tier: .roomy)
            engine.run()
            if let failure = engine.failure {
                Issue.record("seed \(seed), step \(engine.stepCount): \(failure)")
                return
            }
            preemptionCount += engine.preemptionCount
            if engine.skippedCount == 0, engine.recomputedRatio > 0 {
                Issue.record(
                    "seed \(seed) recomputed \(engine.recomputedRatio): \(engine.transferCounts)")
            }
        }
        print("\(preemptionCount) preemptions")
        #expect(preemptionCount > 1000)
    }

    /// A million steps in one go: arrivals, aborts, forecasts that are wrong, a tier that fails.
    @Test func aMillionSteps() {
        var engine = SimulatedEngine(seed: 1, load: .endless(steps: 1_000_000), tier: .failing)
        engine.run()
        if let failure = engine.failure { Issue.record("step \(engine.stepCount): \(failure)") }
        print(
            "\(engine.stepCount) steps, \(engine.finishedCount) sequences, "
                + "\(engine.preemptionCount) preemptions, \(engine.transferCounts), "
                + "the first in line ended after at most \(engine.longestWait) steps")
        #expect(engine.stepCount >= 1_000_000)
        #expect(engine.preemptionCount > 1000)
        #expect(engine.transferCounts.failedStores > 1000)
        #expect(engine.transferCounts.failedFetches > 1000)
    }

    /// Short prompts, long completions, and a pool for a part of them: preemption all the time.
    @Test func preemptionRecomputesABoundedShare() {
        var worst = 0.0
        var worstSeed = UInt64(0)
        var preemptionCount = 0
        for seed in UInt64(10_000)..<10_300 {
            var engine = SimulatedEngine(seed: seed, load: .growing)
            engine.run()
            if let failure = engine.failure {
                Issue.record("seed \(seed), step \(engine.stepCount): \(failure)")
                return
            }
            preemptionCount += engine.preemptionCount
            if engine.recomputedRatio > worst {
                (worst, worstSeed) = (engine.recomputedRatio, seed)
            }
        }
        print("\(preemptionCount) preemptions recompute at worst \(worst) of the useful tokens")
        #expect(preemptionCount > 1000)
        #expect(worst < 2, "seed \(worstSeed)")
    }
}

/// A request of the simulation.
private struct SimulatedSequence {
    /// Lower levels go first, and those that came in earlier steps.
    let level: Int
    let step: Int
    let promptCount: Int
    let maxTokens: Int
    let isScored: Bool
    /// Of the prompt, what it has in common with others, and with which.
    let sharedCount: Int
    let family: Int
    var namer: BlockNamer
    /// The sampled token that is an end-of-sequence token, counted from 1; nil: none comes.
    let endToken: Int?
    /// Positions launched since the last (re)start.
    var launchedCount = 0
    /// The farthest position launched, and all positions launched however often.
    var usefulCount = 0
    var totalCount = 0
    var settledTokens = 0
    var settledScores = 0
    var hasBegun = false

    /// Tokens known when everything launched has run.
    var tokenCount: Int { isScored ? promptCount : Swift.max(promptCount, farthestTokens) }
    var farthestTokens = 0
}

/// The engine's loop without threads and numbers: forms step n + 1 before it settles step n.
private struct SimulatedEngine {
    private var scheduler: Scheduler
    private let limits: Scheduler.Limits
    private var device: SimulatedDevice
    private var random: SeededGenerator
    private var alive: [SequenceID: SimulatedSequence] = [:]
    private var ended: [SimulatedSequence] = []
    private var arrivals: Int
    private let load: Load
    private let arrivalRate: Double
    private let abortRate: Double
    private let scoredRate: Double
    private var nextID = 1
    private var inFlight: Batch?
    private var moving: [Moving] = []
    private let tier: Tier
    private var firstInLine: (id: SequenceID, sinceStep: Int)?
    /// Steps between a sequence's becoming the first in line and its end.
    private(set) var longestWait = 0
    private(set) var finishedCount = 0
    private(set) var stepCount = 0
    /// Positions that were not computed since their blocks were known.
    private(set) var reusedCount = 0
    private(set) var failure: String?

    /// What the requests are like.
    enum Load: Equatable {
        /// Anything.
        case mixed
        /// Short prompts with completions to the longest length, many at once.
        case growing
        /// Anything, for so many steps.
        case endless(steps: Int)
    }

    /// What is below memory.
    enum Tier: Equatable {
        case none
        /// Room for everything; never fails.
        case roomy
        /// Little room, and every fifth transfer fails.
        case failing
    }

    private struct Moving {
        let transfer: TierTransfer
        let fails: Bool
        var steps: Int
    }

    init(seed: UInt64, load: Load = .mixed, tier: Tier? = nil) {
        self.load = load
        random = SeededGenerator(seed: seed)
        self.tier = tier ?? [.none, .roomy, .failing].randomElement(using: &random) ?? .none
        let isGrowing = load == .growing
        if case .endless = load {
            limits = Scheduler.Limits(
                sequences: 8, batchedTokens: 24, logitRows: 8, blockSize: 4, blockCount: 30,
                sequenceLength: 48)
            (arrivals, arrivalRate, abortRate, scoredRate) = (.max, 0.25, 0.005, 0.02)
            (device, scheduler) = Self.start(limits, self.tier)
            return
        }
        let length = Int.random(in: isGrowing ? 20...100 : 2...60, using: &random)
        let blockSize = [1, 2, 4, 16].randomElement(using: &random) ?? 4
        let slots = Int.random(in: isGrowing ? 4...16 : 1...12, using: &random)
        let least = (length + blockSize - 1) / blockSize
        let spare = Int.random(in: 0...least * slots / (isGrowing ? 2 : 1), using: &random)
        limits = Scheduler.Limits(
            sequences: slots,
            batchedTokens: [1, 2, 5, 16, 64].randomElement(using: &random) ?? 1,
            logitRows: [1, 2, 4, 16].randomElement(using: &random) ?? 1,
            blockSize: blockSize, blockCount: least + spare, sequenceLength: length)
        (device, scheduler) = Self.start(limits, self.tier)
        arrivals = Int.random(in: 1...40, using: &random)
        arrivalRate = Double.random(in: 0.05...1, using: &random)
        abortRate = isGrowing ? 0 : [0, 0.02, 0.2].randomElement(using: &random) ?? 0
        scoredRate = isGrowing ? 0 : [0, 0.3, 1].randomElement(using: &random) ?? 0
    }

    /// With short completions in mind: others will be longer than the forecast has them.
    private static func start(
        _ limits: Scheduler.Limits, _ tier: Tier
    ) -> (SimulatedDevice, Scheduler) {
        let index: TierIndex? =
            switch tier {
            case .none: nil
            case .roomy: TierIndex(slotCount: 40 * limits.blocks(for: limits.sequenceLength))
            case .failing: TierIndex(slotCount: limits.blockCount)
            }
        var scheduler = Scheduler(limits, tier: index)
        for length in 1...limits.sequenceLength {
            for _ in 0..<8 { scheduler.observe(completionTokens: (length + 2) / 3) }
        }
        return (SimulatedDevice(limits), scheduler)
    }

    var preemptionCount: Int { scheduler.preemptionCount }
    var transferCounts: BlockCache.Counts { scheduler.transferCounts }
    var skippedCount: Int { transferCounts.skipped }

    /// Positions computed more than once, as a share of the positions that had to be.
    var recomputedRatio: Double {
        let useful = ended.reduce(0) { $0 + $1.usefulCount }
        let total = ended.reduce(0) { $0 + $1.totalCount }
        return useful == 0 ? 0 : Double(total - useful) / Double(useful)
    }

    mutating func run() {
        // Every step computes a token; recomputation may take some times as many.
        var bound = Int.max
        if case .endless = load {
        } else {
            bound = 100 + 20 * arrivals * (limits.sequenceLength + 10)
        }
        while failure == nil,
            arrivals > 0 || !alive.isEmpty || inFlight != nil
                || scheduler.isMoving
        {
            step()
            stepCount += 1
            if case .endless(let steps) = load, stepCount == steps { arrivals = 0 }
            if stepCount > bound { fail("sequences \(alive.keys.sorted()) did not finish") }
        }
        guard failure == nil else { return }
        if !scheduler.isIdle || scheduler.freeBlockCount != limits.blockCount {
            fail("something was not given back")
        }
    }

    private mutating func fail(_ reason: String) {
        if failure == nil { failure = "\(reason) (\(limits))" }
    }

    private mutating func step() {
        arrive()
        abort()
        let wasIdle = inFlight == nil && alive.isEmpty
        let batch = scheduler.schedule()
        checkInvariants()
        if let batch {
            check(batch)
            launch(batch)
        } else if inFlight == nil, !wasIdle, !scheduler.isMoving {
            // The engine sleeps now, and nobody would wake it.
            fail("nothing is in flight, and nothing was scheduled for \(alive.keys.sorted())")
        }
        let previous = inFlight
        inFlight = batch
        if let previous { settle(previous) }
        beginTransfers()
        endTransfers()
        checkFirstInLine()
    }

    /// Long runs check now and then only.
    private func checkInvariants() {
        let interval =
            switch load {
            case .mixed: 1
            case .growing: 7
            case .endless: 101
            }
        if stepCount % interval == 0 { scheduler.checkInvariants() }
    }

    // MARK: - The tier

    private mutating func beginTransfers() {
        for transfer in scheduler.takeTransfers() {
            let fails = tier == .failing && Int.random(in: 0..<5, using: &random) == 0
            device.begin(transfer)
            moving.append(
                Moving(
                    transfer: transfer, fails: fails, steps: Int.random(in: 0...4, using: &random)))
        }
    }

    private mutating func endTransfers() {
        for index in moving.indices { moving[index].steps -= 1 }
        for move in moving where move.steps < 0 {
            device.end(move.transfer, succeeded: !move.fails)
            scheduler.end(transfer: move.transfer.ticket, succeeded: !move.fails)
            checkInvariants()
        }
        moving.removeAll { $0.steps < 0 }
        if let failure = device.failure { fail(failure) }
    }

    // MARK: - Starvation

    /// The first in line ends before long, whatever the others do.
    private mutating func checkFirstInLine() {
        let first = alive.min {
            ($0.value.step + 256 * $0.value.level, $0.key)
                < ($1.value.step + 256 * $1.value.level, $1.key)
        }?.key
        guard let first else {
            firstInLine = nil
            return
        }
        if let before = firstInLine, before.id == first {
            longestWait = max(longestWait, stepCount - before.sinceStep)
        } else {
            firstInLine = (first, stepCount)
        }
        // What all that run may have to compute before it, and what it has to itself, one by one.
        let bound = 20 + (limits.sequences + 1) * limits.sequenceLength * 2
        if longestWait > bound { fail("sequence \(first) starves") }
    }

    // MARK: - Sequences come and go

    /// What a sequence has at a position; equal where sequences have all tokens up to it in common.
    private func content(
        _ id: SequenceID, _ sequence: SimulatedSequence, _ position: Int
    ) -> SimulatedDevice.Entry {
        let owner = position < sequence.sharedCount ? -1 - sequence.family : id
        return SimulatedDevice.Entry(owner: owner, position: position)
    }

    private mutating func arrive() {
        // Of endless ones not all stand in the queue at once.
        while arrivals > 0, alive.count < 50, Double.random(in: 0..<1, using: &random) < arrivalRate
        {
            arrivals -= 1
            let isScored = Double.random(in: 0..<1, using: &random) < scoredRate
            let isGrowing = load == .growing
            let longest = isGrowing ? 5 : limits.sequenceLength - 1
            let prompt = Int.random(in: 1...longest, using: &random)
            let room = limits.sequenceLength - prompt
            let maxTokens =
                isScored ? 1 : isGrowing ? room : Int.random(in: 1...room, using: &random)
            let endsEarly = !isGrowing && Bool.random(using: &random)
            let sharedCount =
                Bool.random(using: &random) ? Int.random(in: 0...prompt, using: &random) : 0
            let level = [0, 0, 0, -1, 1, 3].randomElement(using: &random) ?? 0
            var sequence = SimulatedSequence(
                level: level, step: scheduler.step, promptCount: prompt, maxTokens: maxTokens,
                isScored: isScored,
                sharedCount: sharedCount, family: Int.random(in: 0..<3, using: &random),
                namer: BlockNamer(blockSize: limits.blockSize, seed: ""),
                endToken: endsEarly ? Int.random(in: 1...maxTokens, using: &random) : nil)
            for position in 0..<prompt {
                sequence.namer.append(content(nextID, sequence, position).token)
            }
            alive[nextID] = sequence
            scheduler.add(
                nextID, promptCount: prompt, maxTokens: maxTokens, scoresPrompt: isScored,
                level: level, names: sequence.namer.names)
            checkInvariants()
            nextID += 1
        }
    }

    private mutating func abort() {
        guard Double.random(in: 0..<1, using: &random) < abortRate,
            let id = alive.keys.sorted().randomElement(using: &random)
        else { return }
        end(id, completionTokens: nil)
    }

    private mutating func end(_ id: SequenceID, completionTokens: Int?) {
        guard let sequence = alive.removeValue(forKey: id) else { return }
        finishedCount += 1
        if case .endless = load {
            // Lengths are not learnt, so that the forecast stays wrong.
            scheduler.end(id)
        } else {
            ended.append(sequence)
            scheduler.end(id, completionTokens: load == .growing ? nil : completionTokens)
        }
        checkInvariants()
    }

    // MARK: - Steps

    private mutating func check(_ batch: Batch) {
        if batch.tokenCount > limits.batchedTokens { fail("the token budget was exceeded") }
        if Set(batch.items.map(\.sequence)).count != batch.items.count { fail("a double item") }
        var logitRows = 0
        for item in batch.items {
            guard let sequence = alive[item.sequence] else {
                fail("ended sequence \(item.sequence) was scheduled")
                return
            }
            if item.positions.isEmpty { fail("an empty item") }
            // Behind full blocks that are known, or where it was preempted.
            let restarts =
                (!sequence.hasBegun || item.firstNewBlock == 0)
                && (item.positions.lowerBound % limits.blockSize == 0
                    || item.positions.lowerBound <= sequence.usefulCount)
                && (item.positions.lowerBound == 0 || !sequence.isScored)
            if item.positions.lowerBound != sequence.launchedCount, !restarts {
                fail("sequence \(item.sequence) skipped or repeated positions")
            }
            if !sequence.hasBegun { reusedCount += item.positions.lowerBound }
            if item.positions.upperBound > sequence.tokenCount {
                fail("sequence \(item.sequence) ran past its tokens")
            }
            let reachesEnd = item.positions.upperBound == sequence.tokenCount
            let expected: Batch.Logits = sequence.isScored ? .all : reachesEnd ? .last : .none
            if item.logits != expected { fail("sequence \(item.sequence) has wrong logits") }
            logitRows += item.logitRowCount
        }
        if logitRows > limits.logitRows { fail("the logit budget was exceeded") }
    }

    private mutating func launch(_ batch: Batch) {
        for item in batch.items {
            guard var sequence = alive[item.sequence] else { continue }
            if !sequence.hasBegun {
                device.begin(
                    slot: item.slot,
                    prompt: (0..<sequence.promptCount).map {
                        content(item.sequence, sequence, $0)
                    })
            }
            sequence.hasBegun = true
            sequence.launchedCount = item.positions.upperBound
            sequence.usefulCount = Swift.max(sequence.usefulCount, item.positions.upperBound)
            sequence.totalCount += item.positions.count
            if item.logits == .last { sequence.farthestTokens = item.positions.upperBound + 1 }
            alive[item.sequence] = sequence
        }
        device.launch(batch)
        if let failure = device.failure { fail(failure) }
    }

    private mutating func settle(_ batch: Batch) {
        device.runOldest()
        if let failure = device.failure { fail(failure) }
        for item in batch.items {
            guard let sequence = alive[item.sequence] else { continue }
            scheduler.name(
                sequence.namer.names, of: item.sequence,
                computedCount: item.positions.upperBound, step: batch.step)
            checkInvariants()
        }
        scheduler.complete(step: batch.step)
        checkInvariants()
        for item in batch.items {
            guard let sequence = alive[item.sequence] else { continue }
            switch item.logits {
            case .none: break
            case .all: settleScores(item, sequence)
            case .last:
                let count = sequence.settledTokens + 1
                alive[item.sequence]?.settledTokens = count
                let token = content(item.sequence, sequence, item.positions.upperBound).token
                alive[item.sequence]?.namer.append(token)
                if count == sequence.endToken || count == sequence.maxTokens {
                    end(item.sequence, completionTokens: count)
                }
            }
        }
    }

    private mutating func settleScores(_ item: Batch.Item, _ sequence: SimulatedSequence) {
        // A restart scores the first positions again; there is no gap.
        if item.positions.lowerBound > sequence.settledScores { fail("a score is missing") }
        alive[item.sequence]?.settledScores = item.positions.upperBound
        if item.positions.upperBound == sequence.promptCount {
            end(item.sequence, completionTokens: nil)
        }
    }
}

/// Slots and blocks as the pipeline uses them: the tables change at launch, the cache when the
/// step runs, and a step may run as late as just before it is settled.
private struct SimulatedDevice {
    /// A token, and its keys and values: those of one sequence, or of all that share a beginning.
    struct Entry: Equatable {
        let owner: Int
        let position: Int

        var token: Int32 { Int32(truncatingIfNeeded: owner &* 4096 &+ position) }
    }

    private let blockSize: Int
    private var cache: [Entry?]  // (block, position in block)
    private var blockTables: [[Int32]]  // (slot, block of the sequence)
    private var tokens: [[Entry?]]  // (slot, position)
    private var inFlight: [Batch] = []
    private var records: [Int: Record] = [:]  // (slot of the tier)
    private var copies: [Int: [Entry?]] = [:]  // (ticket)
    private(set) var failure: String?

    /// What a slot of the tier has; nil: nothing that could be read.
    private struct Record {
        let name: BlockName
        let content: [Entry?]?
    }

    init(_ limits: Scheduler.Limits) {
        blockSize = limits.blockSize
        cache = Array(repeating: nil, count: limits.blockCount * blockSize)
        let blocks = limits.blocks(for: limits.sequenceLength)
        blockTables = Array(
            repeating: Array(repeating: -1, count: blocks), count: limits.sequences)
        tokens = Array(
            repeating: Array(repeating: nil, count: limits.sequenceLength),
            count: limits.sequences)
    }

    mutating func begin(slot: Int, prompt: [Entry]) {
        if inFlight.contains(where: { $0.items.contains { $0.slot == slot } }) {
            failure = "slot \(slot) is begun while a step that uses it is in flight"
        }
        for (position, entry) in prompt.enumerated() { tokens[slot][position] = entry }
    }

    mutating func launch(_ batch: Batch) {
        for item in batch.items {
            checkLaunch(item)
            for (offset, block) in item.newBlocks.enumerated() {
                blockTables[item.slot][item.firstNewBlock + offset] = block
            }
        }
        inFlight.append(batch)
        if inFlight.count > 2 { failure = "three steps are in flight" }
    }

    // MARK: - The tier

    private func blockRange(_ block: Int32) -> Range<Int> {
        Int(block) * blockSize..<(Int(block) + 1) * blockSize
    }

    mutating func begin(_ transfer: TierTransfer) {
        switch transfer.direction {
        case .store:
            copies[transfer.ticket] = Array(cache[blockRange(transfer.block)])
        case .fetch:
            copies[transfer.ticket] = records[transfer.slot]?.content
            if records[transfer.slot]?.name != transfer.name {
                failure = "a slot has another record"
            }
            // A block on its way has nothing that anyone may read.
            for place in blockRange(transfer.block) { cache[place] = nil }
        }
    }

    mutating func end(_ transfer: TierTransfer, succeeded: Bool) {
        let copy = copies.removeValue(forKey: transfer.ticket)
        switch transfer.direction {
        case .store:
            // Nobody knows what became of what has changed meanwhile.
            let stored = zip(copy ?? [], cache[blockRange(transfer.block)]).map {
                $0 == $1 ? $0 : nil
            }
            records[transfer.slot] = Record(
                name: transfer.name, content: succeeded ? stored : nil)
        case .fetch:
            guard succeeded else { return }
            guard let copy else {
                failure = "a record was read that was never written"
                return
            }
            for (place, entry) in zip(blockRange(transfer.block), copy) { cache[place] = entry }
        }
    }

    private mutating func checkLaunch(_ item: Batch.Item) {
        for other in inFlight.flatMap(\.items) {
            if other.slot == item.slot, other.sequence != item.sequence {
                failure = "slot \(item.slot) has two sequences in flight"
            }
            let used = blockTables[other.slot].prefix(
                (other.positions.upperBound + blockSize - 1) / blockSize)
            // Those in front of its positions are known ones, which it only reads.
            let knownCount = max(0, item.positions.lowerBound / blockSize - item.firstNewBlock)
            if !Set(used).isDisjoint(with: item.newBlocks.dropFirst(knownCount)) {
                failure = "a block of sequence \(other.sequence) was given away in flight"
            }
            if other.slot == item.slot, !item.newBlocks.isEmpty, item.firstNewBlock < used.count {
                failure = "slot \(item.slot)'s block table is rewritten while a step reads it"
            }
        }
    }

    /// Runs the step in flight that was launched first.
    mutating func runOldest() {
        let batch = inFlight.removeFirst()
        for item in batch.items {
            for position in item.positions { run(item, position) }
            guard item.logits == .last, item.positions.upperBound < tokens[item.slot].count else {
                continue
            }
            tokens[item.slot][item.positions.upperBound] = Entry(
                owner: item.sequence, position: item.positions.upperBound)
        }
    }

    private mutating func run(_ item: Batch.Item, _ position: Int) {
        let own = tokens[item.slot][position]
        if own?.position != position || (own?.owner != item.sequence && (own?.owner ?? 0) >= 0) {
            failure = "sequence \(item.sequence) embeds a token that is not its own"
        }
        cache[place(item.slot, position)] = own
        for key in 0...position where cache[place(item.slot, key)] != tokens[item.slot][key] {
            failure = "sequence \(item.sequence) at \(position) reads a key that is not its own"
        }
    }

    private func place(_ slot: Int, _ position: Int) -> Int {
        Int(blockTables[slot][position / blockSize]) * blockSize + position % blockSize
    }
}

extension Batch.Item {
    fileprivate var logitRowCount: Int {
        switch logits {
        case .none: 0
        case .last: 1
        case .all: positions.count
        }
    }
}
