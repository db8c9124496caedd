/// Which row of a step is which position of which sequence, and where nano-batches meet.
///
///     rows   [ decodes | prefill )[ decodes | prefill )     a prefill chunk may lie on both sides
///              nano-batch 0         nano-batch 1
package struct BatchLayout: Sendable, Hashable {
    /// Consecutive positions of one item of the batch in consecutive rows.
    package struct Run: Sendable, Hashable {
        /// Index among the items of the batch.
        package let item: Int
        package let slot: Int
        package let positions: Range<Int>
        package let firstRow: Int
        /// Whether it attends as a decode: the only position of its item.
        package let isDecode: Bool

        package var rows: Range<Int> { firstRow..<firstRow + positions.count }
    }

    /// In the order of their rows.
    package private(set) var runs: [Run] = []
    /// The rows that go through the LM head, ascending.
    package private(set) var logitRows: [Int] = []
    /// The first row of each nano-batch, and the end of the last one.
    package private(set) var boundaries = [0]

    package var rowCount: Int { boundaries.last ?? 0 }
    package var nanoBatchCount: Int { boundaries.count - 1 }
    /// Whether each row is the next position of a sequence of its own.
    package var onlyDecodes: Bool { runs.allSatisfy(\.isDecode) }

    /// Packs a batch.
    ///
    /// Every nano-batch gets its share of the rows, of the decodes and of their contexts.
    /// - Parameters:
    ///   - batch: What the step computes.
    ///   - shares: The nano-batches' shares of the rows; they sum up to 1.
    ///   - alignment: Prefill chunks are cut at multiples of so many positions. Blocks of the cache
    ///     are what attention reads at once: a cut within one lets the earlier part wait for the
    ///     later part's keys.
    package init(_ batch: Batch, shares: [Double], alignment: Int) {
        let deal = Deal(batch, shares: shares, alignment: alignment)
        for nanoBatch in shares.indices {
            for (item, positions) in deal.parts[nanoBatch] {
                append(batch.items[item], item, positions)
            }
            if rowCountSoFar > rowCount { boundaries.append(rowCountSoFar) }
        }
    }

    private var rowCountSoFar: Int { runs.last.map(\.rows.upperBound) ?? 0 }

    private mutating func append(_ item: Batch.Item, _ index: Int, _ positions: Range<Int>) {
        let run = Run(
            item: index, slot: item.slot, positions: positions, firstRow: rowCountSoFar,
            isDecode: item.positions.count == 1)
        runs.append(run)
        switch item.logits {
        case .none: break
        case .last:
            if positions.upperBound == item.positions.upperBound {
                logitRows.append(run.rows.upperBound - 1)
            }
        case .all: logitRows += run.rows
        }
    }

    // MARK: - What an operation's rows are

    /// The rows among `range` that attend as decodes, or those that do not.
    package func attending(_ range: Range<Int>, asDecodes: Bool) -> RowSet {
        var rows = RowSet()
        for run in runs where run.isDecode == asDecodes { rows.append(run.rows.clamped(to: range)) }
        return rows
    }

    /// The indices of the logit rows among `range`.
    package func logitIndices(_ range: Range<Int>) -> Range<Int> {
        let first = logitRows.partitioningIndex { $0 >= range.lowerBound }
        return first..<logitRows.partitioningIndex { $0 >= range.upperBound }
    }

    /// Whether rows that attend read keys and values which other rows append in the same layer.
    ///
    /// A row reads whole blocks, up to and including that of its own position.
    package func reads(_ readers: RowSet, whatAppends writers: RowSet, blockSize: Int) -> Bool {
        var firstWritten: [Int: Int] = [:]
        for run in runs {
            guard let rows = writers.intersection(run.rows).ranges.first else { continue }
            let position = run.positions.lowerBound + rows.lowerBound - run.firstRow
            firstWritten[run.slot] = min(position, firstWritten[run.slot] ?? position)
        }
        return runs.contains { run in
            guard let first = firstWritten[run.slot],
                let rows = readers.intersection(run.rows).ranges.last
            else { return false }
            let last = run.positions.lowerBound + rows.upperBound - 1 - run.firstRow
            return first / blockSize <= last / blockSize
        }
    }
}

/// Which parts of which items each nano-batch gets: decodes, the longest contexts first, to whoever
/// has least to read and not its share of them yet; prefill tokens to fill the shares.
private struct Deal {
    var parts: [[(item: Int, positions: Range<Int>)]]

    init(_ batch: Batch, shares: [Double], alignment: Int) {
        precondition(!shares.isEmpty, "There must be a nano-batch.")
        parts = Array(repeating: [], count: shares.count)
        let decodes = batch.items.indices.filter { batch.items[$0].positions.count == 1 }
        for (nanoBatch, items) in Self.deal(decodes, of: batch, shares).enumerated() {
            parts[nanoBatch] = items.map { ($0, batch.items[$0].positions) }
        }
        let rows = batch.tokenCount
        var (nanoBatch, share, filled) = (0, shares[0], parts[0].count)
        for item in batch.items.indices where batch.items[item].positions.count > 1 {
            var left = batch.items[item].positions
            while !left.isEmpty {
                let isLast = nanoBatch == shares.count - 1
                let room = isLast ? left.count : Int((share * Double(rows)).rounded()) - filled
                let end = Self.cut(left, after: room, alignment)
                if end > left.lowerBound { parts[nanoBatch].append((item, left.lowerBound..<end)) }
                filled += end - left.lowerBound
                left = end..<left.upperBound
                guard !left.isEmpty else { break }
                nanoBatch += 1
                share += shares[nanoBatch]
                filled += parts[nanoBatch].count
            }
        }
    }

    /// Where a chunk is cut that has room for some of its positions.
    private static func cut(_ positions: Range<Int>, after room: Int, _ alignment: Int) -> Int {
        guard room < positions.count else { return positions.upperBound }
        let wanted = positions.lowerBound + max(0, room)
        let aligned = (wanted + alignment / 2) / alignment * alignment
        // The nearest cut may lie outside: the chunk then stays whole.
        return min(max(aligned, positions.lowerBound), positions.upperBound)
    }

    private static func deal(_ items: [Int], of batch: Batch, _ shares: [Double]) -> [[Int]] {
        guard shares.count > 1 else { return [items] }
        var hands = [[Int]](repeating: [], count: shares.count)
        var contexts = [Double](repeating: 0, count: shares.count)
        let quotas = shares.map { Int(($0 * Double(items.count)).rounded(.up)) }
        let longestFirst = items.sorted {
            let (a, b) = (
                batch.items[$0].positions.upperBound, batch.items[$1].positions.upperBound
            )
            return (b, $0) < (a, $1)
        }
        for item in longestFirst {
            let open = shares.indices.filter { hands[$0].count < quotas[$0] }
            let next = open.min {
                (contexts[$0] / shares[$0], $0) < (contexts[$1] / shares[$1], $1)
            }
            hands[next ?? 0].append(item)
            contexts[next ?? 0] += Double(batch.items[item].positions.upperBound)
        }
        return hands.map { $0.sorted() }
    }
}

extension Array where Element == Int {
    /// The first index whose element satisfies what all behind it satisfy, too.
    fileprivate func partitioningIndex(where isBehind: (Int) -> Bool) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if isBehind(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
