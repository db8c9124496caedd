/// What a sequence need not compute when it begins to run, or runs again.
extension Scheduler {
    /// Where the blocks of a sequence are.
    struct FoundBlocks {
        /// Of the blocks that it could use, from the first on; the last may be its tail.
        var names: ArraySlice<BlockName>
        /// Those at the beginning that are in memory, and how many of them nobody uses.
        var known: [Int32]
        var retiredCount: Int
        /// Those behind them that the tier below has.
        var fetchable: [BlockName] = []

        /// Those that are not in memory.
        var absent: ArraySlice<BlockName> { names.dropFirst(known.count) }
    }

    func findBlocks(of sequence: ScheduledSequence) -> FoundBlocks {
        let full = sequence.reusableNames(limits.blockSize)
        let found = findBlocks(named: full)
        // The tail follows on the blocks that were full then, no more and no fewer.
        guard let tail = sequence.tail, tail.count / limits.blockSize <= full.count,
            found.known.count + found.fetchable.count == tail.count / limits.blockSize
        else { return found }
        return findBlocks(named: full.prefix(tail.count / limits.blockSize) + [tail.name])
    }

    private func findBlocks(named names: ArraySlice<BlockName>) -> FoundBlocks {
        let (known, retiredCount) = cache.pool.known(names)
        var found = FoundBlocks(names: names, known: known, retiredCount: retiredCount)
        found.fetchable = Array(found.absent.prefix(cache.fetchableCount(found.absent)))
        return found
    }

    /// Keeps what a sequence that gives up its blocks has computed beyond the full ones.
    ///
    /// One whose prompt is being scored keeps nothing: its logits are wanted in one go.
    mutating func leaveTail(
        of sequence: ScheduledSequence, _ id: SequenceID
    ) -> ScheduledSequence.Tail? {
        guard cache.tier != nil, !sequence.isScoring, let block = sequence.blocks.last,
            sequence.computedCount % limits.blockSize > 0
        else { return nil }
        let name = BlockName(leftBy: id, count: sequence.computedCount, runID: runID)
        cache.leave(block, as: name, after: sequence.lastStep, completedStep: completedStep)
        return ScheduledSequence.Tail(name: name, count: sequence.computedCount)
    }
}
