/// Which KV blocks are free: bookkeeping on integers.
///
/// A block is free, owned by one sequence, or on its way back: given back while a step that may
/// touch it is in flight, and free when that step has completed.
package struct BlockPool {
    package let blockCount: Int
    private var free: [Int32]
    // In the order of their steps, which only grow.
    private var returning: [(step: Int, blocks: [Int32])] = []
    package private(set) var returningCount = 0

    package init(blockCount: Int) {
        precondition(blockCount > 0, "The pool must have blocks.")
        self.blockCount = blockCount
        // The last ones are taken first, so the lowest addresses go out first.
        free = (0..<Int32(blockCount)).reversed()
    }

    package var freeCount: Int { free.count }

    /// Takes `count` blocks and appends them to `table`; false, and nothing taken, without room.
    package mutating func take(_ count: Int, appendingTo table: inout [Int32]) -> Bool {
        guard count <= free.count else { return false }
        for _ in 0..<count { table.append(free.removeLast()) }
        return true
    }

    /// Takes back a sequence's blocks; they are free once `step` has completed.
    package mutating func giveBack(_ blocks: [Int32], after step: Int, completedStep: Int) {
        guard !blocks.isEmpty else { return }
        if step <= completedStep {
            free.append(contentsOf: blocks.reversed())
        } else {
            returning.append((step, blocks))
            returningCount += blocks.count
        }
    }

    /// Frees the blocks that waited for a step up to `step`.
    package mutating func complete(step: Int) {
        for entry in returning where entry.step <= step {
            free.append(contentsOf: entry.blocks.reversed())
            returningCount -= entry.blocks.count
        }
        returning.removeAll { $0.step <= step }
    }

    /// Checks that every block is free, returning or in one of `owned`, exactly once.
    package func checkInvariants(owned: [[Int32]]) {
        var seen = [Bool](repeating: false, count: blockCount)
        for block in [free] + returning.map(\.blocks) + owned {
            for index in block.map(Int.init) {
                precondition(!seen[index], "Block \(index) has two owners.")
                seen[index] = true
            }
        }
        precondition(seen.allSatisfy { $0 }, "A block was lost.")
        precondition(
            returningCount == returning.reduce(0) { $0 + $1.blocks.count },
            "The count of returning blocks is wrong.")
    }
}
