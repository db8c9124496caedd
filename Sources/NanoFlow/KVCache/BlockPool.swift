/// Who uses which KV blocks: bookkeeping on integers.
///
/// A block is free, used by one sequence or shared by several, or retired: used by nobody, but full
/// and named, so that a sequence with the same prefix may use it again. Retired blocks are taken when
/// no free ones are left, the one that was used least recently first.
///
/// What is given back while a step that may touch it is in flight stays in use until that step has
/// completed, and what is pinned until it is unpinned.
package struct BlockPool {
    package let blockCount: Int
    private var free: [Int32]
    private var useCounts: [Int]
    private var names: [BlockName?]
    private var blocks: [BlockName: Int32] = [:]
    private var retired: RecencyList
    private var returning: [(step: Int, blocks: [Int32])] = []
    // Of a block's uses, those that end with a step in flight.
    private var returningUses: [Int]
    /// Blocks that nobody will use when the steps in flight have completed.
    package private(set) var returningCount = 0
    /// Blocks with more than one use.
    package private(set) var sharedCount = 0

    package init(blockCount: Int) {
        precondition(blockCount > 0, "The pool must have blocks.")
        self.blockCount = blockCount
        // The last ones are taken first, so the lowest addresses go out first.
        free = (0..<Int32(blockCount)).reversed()
        useCounts = Array(repeating: 0, count: blockCount)
        names = Array(repeating: nil, count: blockCount)
        retired = RecencyList(count: blockCount)
        returningUses = useCounts
    }

    /// Blocks that can be taken.
    package var freeCount: Int { free.count + retired.count }
    package var retiredCount: Int { retired.count }
    package var usedCount: Int { blockCount - freeCount }

    package func useCount(of block: Int32) -> Int { useCounts[Int(block)] }

    /// Takes `count` blocks and appends them to `table`; false, and nothing taken, without room.
    package mutating func take(_ count: Int, appendingTo table: inout [Int32]) -> Bool {
        guard count <= freeCount else { return false }
        for _ in 0..<count {
            let block = free.popLast() ?? forgetOldest()
            useCounts[Int(block)] = 1
            table.append(block)
        }
        return true
    }

    private mutating func forgetOldest() -> Int32 {
        guard let block = retired.removeOldest() else {
            preconditionFailure("A block was taken that is not there.")
        }
        if let name = names[Int(block)] { blocks[name] = nil }
        names[Int(block)] = nil
        return block
    }

    // MARK: - What may be used again

    /// The blocks of the longest known prefix, and how many of them are retired: using those leaves
    /// fewer to be taken.
    package func known(_ prefix: some Sequence<BlockName>) -> (blocks: [Int32], retiredCount: Int) {
        var found: [Int32] = []
        var retiredCount = 0
        for name in prefix {
            guard let block = blocks[name] else { break }
            if useCounts[Int(block)] == 0 { retiredCount += 1 }
            found.append(block)
        }
        return (found, retiredCount)
    }

    /// Uses blocks that are known, for one more sequence.
    package mutating func use(_ shared: [Int32]) {
        for block in shared {
            precondition(names[Int(block)] != nil, "Only a named block can be used again.")
            if useCounts[Int(block)] == 0 { retired.remove(block) }
            change(block) { $0.useCounts[Int(block)] += 1 }
        }
    }

    /// Names a full block whose keys and values have been computed.
    ///
    /// Where another one has the name already this one stays without.
    /// - Returns: Whether the block has got the name.
    @discardableResult
    package mutating func name(_ block: Int32, _ name: BlockName) -> Bool {
        guard names[Int(block)] == nil, blocks[name] == nil else { return false }
        precondition(useCounts[Int(block)] > 0, "A block is named by who uses it.")
        names[Int(block)] = name
        blocks[name] = block
        return true
    }

    /// Takes a name back from whichever block has it; where nobody uses the block it is free.
    package mutating func forget(_ name: BlockName) {
        guard let block = blocks.removeValue(forKey: name) else { return }
        names[Int(block)] = nil
        guard useCounts[Int(block)] == 0 else { return }
        retired.remove(block)
        free.append(block)
    }

    // MARK: - Giving back

    /// Uses a block until ``unpin(_:)``, beside those who use it; it counts as returning.
    package mutating func pin(_ block: Int32) {
        precondition(useCounts[Int(block)] > 0, "A block is pinned by who uses it.")
        change(block) {
            $0.useCounts[Int(block)] += 1
            $0.returningUses[Int(block)] += 1
        }
    }

    package mutating func unpin(_ block: Int32) {
        change(block) { $0.returningUses[Int(block)] -= 1 }
        release([block])
    }

    /// Ends a sequence's use of blocks, once `step` has completed.
    package mutating func giveBack(_ blocks: [Int32], after step: Int, completedStep: Int) {
        guard !blocks.isEmpty else { return }
        if step <= completedStep {
            release(blocks)
        } else {
            returning.append((step, blocks))
            for block in blocks { change(block) { $0.returningUses[Int(block)] += 1 } }
        }
    }

    /// Ends the uses that waited for a step up to `step`.
    package mutating func complete(step: Int) {
        let ended = returning.filter { $0.step <= step }
        returning.removeAll { $0.step <= step }
        for entry in ended {
            for block in entry.blocks { change(block) { $0.returningUses[Int(block)] -= 1 } }
            release(entry.blocks)
        }
    }

    /// The last blocks of a sequence first: a prefix is used again by more than what follows it.
    private mutating func release(_ ended: [Int32]) {
        for block in ended.reversed() {
            change(block) { $0.useCounts[Int(block)] -= 1 }
            guard useCounts[Int(block)] == 0 else { continue }
            if names[Int(block)] == nil { free.append(block) } else { retired.append(block) }
        }
    }

    /// Counts anew whether nobody will use the block when the steps in flight have completed, and
    /// whether it is shared.
    private mutating func change(_ block: Int32, _ body: (inout BlockPool) -> Void) {
        let before = (isReturning(block), useCounts[Int(block)] > 1)
        body(&self)
        let after = (isReturning(block), useCounts[Int(block)] > 1)
        returningCount += (after.0 ? 1 : 0) - (before.0 ? 1 : 0)
        sharedCount += (after.1 ? 1 : 0) - (before.1 ? 1 : 0)
    }

    private func isReturning(_ block: Int32) -> Bool {
        let uses = useCounts[Int(block)]
        return uses > 0 && returningUses[Int(block)] == uses
    }

    /// Checks that every block is free, retired, or used as often as `owned`, `pinned` and what returns
    /// say.
    package func checkInvariants(owned: [[Int32]], pinned: [Int32] = []) {
        var uses = [Int](repeating: 0, count: blockCount)
        for table in owned + returning.map(\.blocks) + [pinned] {
            for block in table { uses[Int(block)] += 1 }
        }
        precondition(uses == useCounts, "A block's uses were counted wrongly.")
        let unused = Set(free).union(retired.numbers)
        precondition(unused.count == freeCount, "A block is free twice.")
        precondition(
            unused == Set((0..<Int32(blockCount)).filter { uses[Int($0)] == 0 }),
            "A block was lost, or is free and used.")
        precondition(
            retired.numbers.allSatisfy { names[Int($0)] != nil }
                && free.allSatisfy { names[Int($0)] == nil },
            "Retired blocks have names, free ones none.")
        precondition(
            blocks.count == names.count { $0 != nil }
                && blocks.allSatisfy { names[Int($0.value)] == $0.key },
            "A name does not lead to its block.")
        precondition(
            returningCount == (0..<Int32(blockCount)).count { isReturning($0) },
            "The count of returning blocks is wrong.")
        precondition(sharedCount == uses.count { $0 > 1 }, "The count of shared blocks is wrong.")
    }
}
