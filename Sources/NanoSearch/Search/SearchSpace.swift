package import NanoFlow

/// The plans among which the search looks, beside the sequential one.
package struct SearchSpace: Sendable, Hashable {
    /// Numbers of nano-batches.
    package var nanoBatchCounts = [2, 3]
    /// Nano-batches have shares of so many equal parts of the rows.
    package var shareParts = 8
    /// How a device's resources may be shared.
    package var sharings: [Sharing]

    /// How operations bound by different resources get their parts of the device.
    package struct Sharing: Codable, Sendable, Hashable {
        /// Co-issue at this rate; 0: none.
        package var prefetchRate = 0.0
        /// Units that prefer memory, and network.
        package var memoryShare = 0.0
        package var networkShare = 0.0

        package init(
            prefetchRate: Double = 0, memoryShare: Double = 0, networkShare: Double = 0
        ) {
            self.prefetchRate = prefetchRate
            (self.memoryShare, self.networkShare) = (memoryShare, networkShare)
        }
    }

    package init(sharings: [Sharing]) { self.sharings = sharings }

    /// For a device without co-issue: shares in tenths, as the released tables have them.
    package static func spatial(hasNetwork: Bool) -> SearchSpace {
        let tenths = { (range: ClosedRange<Int>) in range.map { Double($0) / 10 } }
        let network = hasNetwork ? tenths(1...3) : [0]
        return SearchSpace(
            sharings: tenths(1...6).flatMap { memory in
                network.map { Sharing(memoryShare: memory, networkShare: $0) }
            })
    }

    // MARK: - What can be varied

    /// All ways to give so many nano-batches shares of the rows.
    package func shares(nanoBatchCount: Int) -> [[Double]] {
        func compositions(_ parts: Int, _ count: Int) -> [[Int]] {
            guard count > 1 else { return [[parts]] }
            return (1...max(1, parts - count + 1)).flatMap { first in
                compositions(parts - first, count - 1).map { [first] + $0 }
            }
        }
        return compositions(shareParts, nanoBatchCount).map { parts in
            parts.map { Double($0) / Double(shareParts) }
        }
    }

    /// All orders in which nano-batches can take turns, each going through its segments in their
    /// order and beginning at any of them; what stands before the first segment belongs to the layer
    /// before.
    ///
    /// Nano-batch 0 takes the first turn: the order goes round, so that others are the same but for
    /// the names. Left out are orders that come to a standstill where a prompt's chunk is cut: a
    /// later part attends to the keys that the earlier ones append.
    package static func orders(
        nanoBatchCount: Int, segmentCount: Int
    ) -> [[PipelinePlan.Turn]] {
        var words: [[Int]] = []
        func extend(_ word: [Int], _ left: [Int]) {
            guard word.count < nanoBatchCount * segmentCount else { return words.append(word) }
            for nanoBatch in left.indices where left[nanoBatch] > 0 {
                if word.isEmpty && nanoBatch > 0 { break }
                var left = left
                left[nanoBatch] -= 1
                extend(word + [nanoBatch], left)
            }
        }
        extend([], [Int](repeating: segmentCount, count: nanoBatchCount))
        let beginnings = (0..<nanoBatchCount).reduce([[Int]]([[]])) { lists, _ in
            lists.flatMap { list in (0..<segmentCount).map { list + [$0] } }
        }
        return words.flatMap { word in
            beginnings.map { turns(word, beginnings: $0, segmentCount) }
        }.filter(isCausal)
    }

    /// Whether each nano-batch's keys, from segment 0, are there before a later one's segment 1.
    private static func isCausal(_ order: [PipelinePlan.Turn]) -> Bool {
        func place(_ nanoBatch: Int, _ segment: Int) -> Int {
            let index = order.firstIndex { $0.nanoBatch == nanoBatch && $0.segment == segment } ?? 0
            return index - order[index].layerOffset * order.count
        }
        let last = order.map(\.nanoBatch).max() ?? 0
        return (0..<last).allSatisfy { earlier in
            (earlier + 1...last).allSatisfy { place(earlier, 0) < place($0, 1) }
        }
    }

    private static func turns(
        _ word: [Int], beginnings: [Int], _ segmentCount: Int
    ) -> [PipelinePlan.Turn] {
        var taken = [Int](repeating: 0, count: beginnings.count)
        return word.map { nanoBatch in
            let place = beginnings[nanoBatch] + taken[nanoBatch]
            taken[nanoBatch] += 1
            return PipelinePlan.Turn(
                nanoBatch: nanoBatch, segment: place % segmentCount,
                layerOffset: beginnings[nanoBatch] > 0 && place < segmentCount ? -1 : 0)
        }
    }
}
