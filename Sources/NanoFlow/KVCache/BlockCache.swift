/// A block on its way between memory and the tier below.
package struct TierTransfer: Sendable, Hashable {
    package enum Direction: Sendable, Hashable {
        /// From memory to the tier.
        case store
        /// From the tier to memory.
        case fetch
    }

    /// Names the transfer when it has ended.
    package let ticket: Int
    package let direction: Direction
    package let name: BlockName
    package let block: Int32
    /// The place in the tier.
    package let slot: Int
}

/// The KV blocks in memory, what the tier below has, and what moves between them.
///
/// A block is stored as soon as it has a name, once, and stays in use meanwhile. What a sequence
/// needs from the tier is fetched into blocks that nobody else knows until all of them have come.
/// Pure bookkeeping: the engine begins the transfers and tells when they have ended.
package struct BlockCache {
    package private(set) var pool: BlockPool
    package private(set) var tier: TierIndex?
    package private(set) var counts = Counts()
    private var begun: [TierTransfer] = []
    private var moving: [Int: Moving] = [:]
    private var fetches: [SequenceID: Fetch] = [:]
    private var fetchedNames: Set<BlockName> = []
    // Blocks that are not full, given up before the step that fills them has completed.
    private var leaving: [(step: Int, block: Int32, name: BlockName)] = []
    private var storingCount = 0
    private var nextTicket = 1

    /// What has moved since the start, in blocks.
    package struct Counts: Sendable, Hashable {
        package var stored = 0
        package var fetched = 0
        /// Not stored since too many were waiting for the tier, or it had no slot.
        package var skipped = 0
        package var failedStores = 0
        package var failedFetches = 0
    }

    private struct Moving {
        let transfer: TierTransfer
        /// For whom it is fetched, and which of its blocks it is.
        let sequence: SequenceID?
        let index: Int
    }

    private struct Fetch {
        let blocks: [Int32]
        let names: [BlockName]
        var hasCome: [Bool]
        var missingCount: Int
        /// Whether the sequence still waits for it.
        var isWanted = true
    }

    package init(blockCount: Int, tier: TierIndex?) {
        pool = BlockPool(blockCount: blockCount)
        self.tier = tier
    }

    /// Blocks that may wait for the tier at once: they cannot be taken meanwhile.
    private var storingLimit: Int { max(8, pool.blockCount / 4) }

    /// Whether blocks are on their way.
    package var isMoving: Bool { !moving.isEmpty }

    /// The transfers to begin, in their order; each is handed out once.
    package mutating func takeTransfers() -> [TierTransfer] {
        defer { begun.removeAll(keepingCapacity: true) }
        return begun
    }

    // MARK: - Memory

    package mutating func take(_ count: Int, appendingTo table: inout [Int32]) -> Bool {
        pool.take(count, appendingTo: &table)
    }

    /// Uses blocks of `names`, which are known, for one more sequence.
    package mutating func use(_ blocks: [Int32], _ names: some Sequence<BlockName>) {
        pool.use(blocks)
        for name in names.prefix(blocks.count) { tier?.touch(name) }
    }

    package mutating func giveBack(_ blocks: [Int32], after step: Int, completedStep: Int) {
        pool.giveBack(blocks, after: step, completedStep: completedStep)
    }

    package mutating func complete(step: Int) {
        nameLeft(completedStep: step)
        pool.complete(step: step)
    }

    /// Names a full block whose keys and values have been computed, and begins to store it.
    package mutating func name(_ block: Int32, _ name: BlockName) {
        guard pool.name(block, name), tier?.contains(name) == false else { return }
        guard storingCount < storingLimit, let slot = tier?.beginWrite(name) else {
            counts.skipped += 1
            return
        }
        pool.pin(block)
        storingCount += 1
        begin(.store, name, block, slot)
    }

    /// Names a block that is not full and whose sequence gives it up; nobody else will ask for it.
    ///
    /// `step` is the last one that fills it.
    package mutating func leave(
        _ block: Int32, as name: BlockName, after step: Int, completedStep: Int
    ) {
        pool.pin(block)
        leaving.append((step, block, name))
        nameLeft(completedStep: completedStep)
    }

    private mutating func nameLeft(completedStep: Int) {
        for left in leaving where left.step <= completedStep {
            self.name(left.block, left.name)
            pool.unpin(left.block)
        }
        leaving.removeAll { $0.step <= completedStep }
    }

    /// Forgets a block that only one sequence could ask for.
    package mutating func forget(_ name: BlockName) {
        leaving.filter { $0.name == name }.forEach { pool.unpin($0.block) }
        leaving.removeAll { $0.name == name }
        pool.forget(name)
        tier?.forget(name)
    }

    private mutating func begin(
        _ direction: TierTransfer.Direction, _ name: BlockName, _ block: Int32, _ slot: Int,
        for sequence: SequenceID? = nil, index: Int = 0
    ) {
        let transfer = TierTransfer(
            ticket: nextTicket, direction: direction, name: name, block: block, slot: slot)
        nextTicket += 1
        moving[transfer.ticket] = Moving(transfer: transfer, sequence: sequence, index: index)
        begun.append(transfer)
    }

    // MARK: - The tier

    /// How many blocks at the beginning of a prefix the tier can give.
    package func fetchableCount(_ names: some Sequence<BlockName>) -> Int {
        tier?.readableCount(names) ?? 0
    }

    /// Whether one of the blocks is being fetched for another sequence, or is being stored and will be
    /// there when that has ended.
    package func isMoving(_ names: some Sequence<BlockName>) -> Bool {
        !moving.isEmpty
            && names.contains { fetchedNames.contains($0) || tier?.isBeingWritten($0) == true }
    }

    /// Begins to fetch blocks for a sequence; false, and nothing begun, without room.
    package mutating func fetch(_ names: [BlockName], for id: SequenceID) -> Bool {
        precondition(fetches[id] == nil && !names.isEmpty, "A sequence fetches once at a time.")
        var blocks: [Int32] = []
        guard pool.take(names.count, appendingTo: &blocks) else { return false }
        fetches[id] = Fetch(
            blocks: blocks, names: names, hasCome: Array(repeating: false, count: names.count),
            missingCount: names.count)
        fetchedNames.formUnion(names)
        for (index, name) in names.enumerated() {
            guard let slot = tier?.beginRead(name) else { preconditionFailure("There is no tier.") }
            begin(.fetch, name, blocks[index], slot, for: id, index: index)
        }
        return true
    }

    /// Forgets for whom blocks are fetched; they are kept for others when they have come.
    package mutating func abandonFetch(for id: SequenceID) { fetches[id]?.isWanted = false }

    /// Notes that a transfer has ended.
    ///
    /// - Returns: The sequence that has got what it waited for, with the blocks that have come, which
    ///   it uses now.
    package mutating func end(
        transfer ticket: Int, succeeded: Bool
    ) -> (sequence: SequenceID, blocks: [Int32])? {
        guard let moved = moving.removeValue(forKey: ticket) else {
            preconditionFailure("Transfer \(ticket) ended twice, or was never begun.")
        }
        let transfer = moved.transfer
        switch transfer.direction {
        case .store:
            storingCount -= 1
            tier?.endWrite(slot: transfer.slot, succeeded: succeeded)
            pool.unpin(transfer.block)
            if succeeded { counts.stored += 1 } else { counts.failedStores += 1 }
            return nil
        case .fetch:
            tier?.endRead(slot: transfer.slot, succeeded: succeeded)
            if succeeded { counts.fetched += 1 } else { counts.failedFetches += 1 }
            return endFetch(moved, succeeded: succeeded)
        }
    }

    private mutating func endFetch(
        _ moved: Moving, succeeded: Bool
    ) -> (sequence: SequenceID, blocks: [Int32])? {
        guard let id = moved.sequence, var fetch = fetches[id] else {
            preconditionFailure("A block came that nobody has asked for.")
        }
        fetch.hasCome[moved.index] = succeeded
        fetch.missingCount -= 1
        fetches[id] = fetch.missingCount > 0 ? fetch : nil
        guard fetch.missingCount == 0 else { return nil }

        fetchedNames.subtract(fetch.names)
        let count = fetch.hasCome.firstIndex(of: false) ?? fetch.blocks.count
        for index in 0..<count { pool.name(fetch.blocks[index], fetch.names[index]) }
        let kept = fetch.isWanted ? count : 0
        pool.giveBack(Array(fetch.blocks[kept...]), after: 0, completedStep: 0)
        return fetch.isWanted ? (id, Array(fetch.blocks[..<kept])) : nil
    }

    // MARK: - Invariants

    /// Checks what must hold after every call, with the blocks of all sequences; for tests.
    package func checkInvariants(owned: [[Int32]]) {
        let storing = moving.values.map(\.transfer).filter { $0.direction == .store }
            .map(\.block)
        precondition(storing.count == storingCount, "The count of blocks being stored is wrong.")
        pool.checkInvariants(
            owned: owned + fetches.values.map(\.blocks),
            pinned: storing + leaving.map(\.block))
        tier?.checkInvariants()
    }
}
