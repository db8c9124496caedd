/// How many KV blocks will be in use at most, when each sequence grows by a token a step until it ends.
///
///     blocks                 ┌───┐
///        peak ─ ─ ─ ─ ─ ─┌───┘   │
///                    ┌───┘       └───┐       the sum of what sequences hold; it falls where one ends,
///                ────┘               └───    so the peak stands where one does
///                0                     step
package struct BlockForecast {
    /// One sequence from now to its end.
    package struct Growth: Sendable, Hashable {
        /// Positions that it holds blocks for now.
        package var count: Int
        /// Positions at its end, no fewer.
        package var endCount: Int
        /// Of its blocks, those that are counted once for all sequences.
        package var sharedBlocks: Int

        package init(count: Int, endCount: Int, sharedBlocks: Int = 0) {
            precondition(
                count > 0 && endCount >= count && sharedBlocks >= 0, "A sequence only grows.")
            self.count = count
            self.endCount = endCount
            self.sharedBlocks = sharedBlocks
        }

        /// Steps until it ends; in the one after it holds nothing.
        fileprivate var steps: Int { endCount - count }
    }

    private let blockSize: Int
    private var growths: [Growth] = []

    /// - Parameter blockSize: Positions in a block.
    package init(blockSize: Int) { self.blockSize = blockSize }

    package mutating func add(_ growth: Growth) { growths.append(growth) }

    /// The peak, beside the shared blocks.
    ///
    /// Goes through the ends from the last to the first. At step s a sequence of c positions holds
    /// ceil((c + s) / b) blocks = floor((c - 1) / b) + floor(s / b) + 1, and one more where the
    /// remainders of c - 1 and s together reach b: so a count of sequences by remainder gives the sum
    /// over all that are alive.
    package func peak() -> Int {
        var byRemainder = [Int](repeating: 0, count: blockSize)
        var (alive, whole, peak) = (0, 0, 0)
        let ordered = growths.sorted { $0.steps > $1.steps }
        for (index, growth) in ordered.enumerated() {
            alive += 1
            whole += (growth.count - 1) / blockSize + 1 - growth.sharedBlocks
            byRemainder[(growth.count - 1) % blockSize] += 1
            let step = growth.steps
            // Of those that end together the last one sees them all.
            if index + 1 < ordered.count, ordered[index + 1].steps == step { continue }
            let carrying = byRemainder[(blockSize - step % blockSize)...].reduce(0, +)
            peak = max(peak, whole + alive * (step / blockSize) + carrying)
        }
        return peak
    }
}
