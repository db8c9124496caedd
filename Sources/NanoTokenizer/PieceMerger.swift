/// Byte-pair merging: turns pieces into tokens, one piece after the other, in reused memory.
///
/// The neighbours whose merge has the lowest rank join first, the leftmost of equals before the
/// others, until no neighbours have a merge (Sennrich et al., "Neural Machine Translation of Rare
/// Words with Subword Units"). A short piece is searched anew for each merge; a long one keeps its
/// merges in a heap, so that n bytes take O(n log n) however they merge.
package struct PieceMerger {
    /// How many entries have been put into heaps so far, each of which is also taken out once.
    package private(set) var heapEntryCount = 0

    private let merges: MergeTable
    /// The token of each byte; -1 for bytes that have none.
    private let byteTokens: [Int32]
    private let maxSearchedPieceCount: Int

    /// The tokens of the piece, from left to right.
    private var tokens: [Int32] = []
    /// The rank of the merge of each token with the next one.
    private var ranks: [UInt32] = []
    /// The place of the next and the previous token, where places stay when tokens join.
    private var next: [Int] = []
    private var previous: [Int] = []
    private var heap = MergeHeap()

    /// Creates a merger that searches pieces of up to `maxSearchedPieceCount` bytes and uses a heap
    /// for longer ones; the tokens do not depend on it.
    init(merges: MergeTable, byteTokens: [Int32], maxSearchedPieceCount: Int) {
        self.merges = merges
        self.byteTokens = byteTokens
        self.maxSearchedPieceCount = maxSearchedPieceCount
    }

    /// Appends the tokens of `piece` to `result`, leaving out bytes that have no token.
    package mutating func appendTokens(
        of piece: UnsafeBufferPointer<UInt8>, to result: inout [Int]
    ) {
        tokens.removeAll(keepingCapacity: true)
        for byte in piece where byteTokens[Int(byte)] >= 0 {
            tokens.append(byteTokens[Int(byte)])
        }
        ranks.removeAll(keepingCapacity: true)
        for index in tokens.indices.dropLast() {
            ranks.append(merges.rank(tokens[index], tokens[index + 1]))
        }
        ranks.append(MergeTable.noRank)
        if tokens.count <= maxSearchedPieceCount {
            mergeBySearch()
            for token in tokens { result.append(Int(token)) }
        } else {
            mergeByHeap()
            var index = 0
            while index < tokens.count {
                result.append(Int(tokens[index]))
                index = next[index]
            }
        }
    }

    private mutating func mergeBySearch() {
        while true {
            var index = 0
            for other in ranks.indices where ranks[other] < ranks[index] { index = other }
            guard ranks[index] != MergeTable.noRank else { return }

            tokens[index] = merges.mergedTokens[Int(ranks[index])]
            tokens.remove(at: index + 1)
            ranks.remove(at: index + 1)
            if index + 1 < tokens.count {
                ranks[index] = merges.rank(tokens[index], tokens[index + 1])
            } else {
                ranks[index] = MergeTable.noRank
            }
            if index > 0 {
                ranks[index - 1] = merges.rank(tokens[index - 1], tokens[index])
            }
        }
    }

    /// Merges in place: `tokens[i]` counts while `i` can be reached from 0 through `next`.
    private mutating func mergeByHeap() {
        let count = tokens.count
        precondition(count <= Int(UInt32.max), "A piece is longer than 4 GiB.")
        next = Array(1...count)
        previous = Array(-1..<(count - 1))
        for index in tokens.indices { push(index) }

        while let (rank, index) = heap.pop() {
            // One of the two tokens has become part of another since.
            guard ranks[index] == rank else { continue }
            let absorbed = next[index]
            let following = next[absorbed]
            tokens[index] = merges.mergedTokens[Int(rank)]
            ranks[absorbed] = MergeTable.noRank
            next[index] = following
            ranks[index] = MergeTable.noRank
            if following < count {
                previous[following] = index
                ranks[index] = merges.rank(tokens[index], tokens[following])
                push(index)
            }
            let preceding = previous[index]
            if preceding >= 0 {
                ranks[preceding] = merges.rank(tokens[preceding], tokens[index])
                push(preceding)
            }
        }
    }

    private mutating func push(_ index: Int) {
        guard ranks[index] != MergeTable.noRank else { return }
        heap.push(rank: ranks[index], index: index)
        heapEntryCount += 1
    }
}

/// A binary min-heap of merges by rank, then by place.
private struct MergeHeap {
    /// The rank in the upper half, the place in the lower one.
    private var entries: [UInt64] = []

    mutating func push(rank: UInt32, index: Int) {
        let entry = UInt64(rank) << 32 | UInt64(index)
        entries.append(entry)
        var child = entries.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard entry < entries[parent] else { break }
            entries[child] = entries[parent]
            child = parent
        }
        entries[child] = entry
    }

    mutating func pop() -> (rank: UInt32, index: Int)? {
        guard let first = entries.first, let last = entries.popLast() else { return nil }
        if !entries.isEmpty { sink(last) }
        return (UInt32(first >> 32), Int(first & 0xFFFF_FFFF))
    }

    /// Puts `entry` where it belongs in the heap whose root is free.
    private mutating func sink(_ entry: UInt64) {
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < entries.count else { break }
            if child + 1 < entries.count, entries[child + 1] < entries[child] { child += 1 }
            guard entries[child] < entry else { break }
            entries[parent] = entries[child]
            parent = child
        }
        entries[parent] = entry
    }
}
