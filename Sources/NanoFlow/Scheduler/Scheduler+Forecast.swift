/// Whether one more sequence fits, by what is predicted of those that have blocks.
extension Scheduler {
    /// Tokens of a completion of which nothing is known but its limit.
    package static let assumedTokens = 512

    /// The blocks that will be in use at most when `id` runs too, with the blocks that are known to it;
    /// nil: they do not fit.
    ///
    /// One sequence alone always fits: the pool holds the longest.
    func peak(with id: SequenceID, _ found: FoundBlocks) -> Int? {
        guard let candidate = sequences[id] else { return nil }
        let holders = running + fetching
        // Those that nobody uses count as free until they are used.
        let needed =
            limits.blocks(for: candidate.tokenCount) - found.known.count + found.retiredCount
        let promised = holders.reduce(0) { $0 + missingBlocks(of: $1) }
        guard needed + promised <= cache.pool.freeCount else { return nil }

        var forecast = BlockForecast(blockSize: limits.blockSize)
        for holder in holders {
            guard let sequence = sequences[holder] else { continue }
            let shared = sharedCount(sequence.blocks, with: found.known)
            forecast.add(growth(of: sequence, holder, among: holders.count + 1, shared: shared))
        }
        // What is shared counts once, for whoever is left.
        let newlyShared = found.known.count { cache.pool.useCount(of: $0) == 1 }
        let shared = found.known.count - found.retiredCount
        forecast.add(growth(of: candidate, id, among: holders.count + 1, shared: shared))
        let peak = forecast.peak() + cache.pool.sharedCount + newlyShared
        return peak <= limits.blockCount || holders.isEmpty ? peak : nil
    }

    /// How many of a sequence's first blocks have other uses too, or will have with `known`.
    private func sharedCount(_ blocks: [Int32], with known: [Int32]) -> Int {
        for (index, block) in blocks.enumerated() {
            let isCommon = index < known.count && known[index] == block
            if !isCommon, cache.pool.useCount(of: block) < 2 { return index }
        }
        return blocks.count
    }

    /// Blocks for tokens that a sequence has and that are not computed yet.
    private func missingBlocks(of id: SequenceID) -> Int {
        guard let sequence = sequences[id], sequence.remainingCount > 0 else { return 0 }
        return max(0, limits.blocks(for: sequence.tokenCount) - sequence.blocks.count)
    }

    private func growth(
        of sequence: ScheduledSequence, _ id: SequenceID, among count: Int, shared: Int
    ) -> BlockForecast.Growth {
        let predicted = predictedTokens(of: sequence, id, among: count)
        // The last token is not computed.
        let end = sequence.promptCount + predicted - 1
        let held = sequence.remainingCount > 0 ? sequence.tokenCount : sequence.computedCount
        return BlockForecast.Growth(
            count: held, endCount: max(held, end),
            sharedBlocks: min(shared, limits.blocks(for: held)))
    }

    /// How long the completion will be, of a sequence among `count` that have blocks.
    func predictedTokens(
        of sequence: ScheduledSequence, _ id: SequenceID, among count: Int
    ) -> Int {
        let limit = sequence.endCount - sequence.promptCount
        guard !sequence.endsAtLimit else { return limit }
        let sampled = sequence.sampledCount
        let length =
            lengths.quantile(
                CompletionLengths.rank(of: id, among: count), longerThan: sampled)
            ?? max(Self.assumedTokens, 2 * sampled)
        return min(limit, length)
    }
}

extension Scheduler {
    /// How long a completion is before anything is known of it: the middle of the last ones.
    package var likelyTokens: Int {
        lengths.quantile(0.5, longerThan: 0) ?? Self.assumedTokens
    }

    /// Sequences that can run at once, if they take as many blocks as those that were last admitted.
    package var fittingSequences: Int {
        guard counts.predictedPeakBlocks > 0 else { return limits.sequences }
        let fitting = peakSequences * limits.blockCount / counts.predictedPeakBlocks
        return min(limits.sequences, max(1, fitting))
    }

    /// What has happened since the start, and what is expected.
    package struct Counts: Sendable, Hashable {
        /// Times that a sequence gave up its blocks for another.
        package var preemptions = 0
        /// The peak of block use that was predicted when a sequence was last admitted.
        package var predictedPeakBlocks = 0
        /// The most blocks that have been in use.
        package var mostUsedBlocks = 0
        /// Of sequences that have ended: the tokens predicted for them when they were admitted, and
        /// those they came to.
        package var predictedTokens = 0
        package var completedTokens = 0
    }
}
