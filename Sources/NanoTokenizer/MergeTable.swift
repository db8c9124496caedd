/// The merges of a vocabulary: which two neighbouring tokens join, to what, and how soon.
struct MergeTable: Sendable {
    /// Means that there is no merge; larger than every rank.
    static let noRank = UInt32.max

    /// The token that the merge of each rank makes.
    private(set) var mergedTokens: [Int32] = []

    /// An open-addressing hash table from a pair of tokens to the rank of its merge.
    private var slots: [Slot]
    private let shift: UInt64
    /// Odd and random, so that no file can be written to make the pairs collide.
    private let multiplier = UInt64.random(in: .min ... .max) | 1

    private struct Slot {
        var pair: UInt64 = 0
        var rank = MergeTable.noRank
    }

    /// Resolves `merges` ("left right", the lowest rank first) by the spellings of the tokens.
    init(_ merges: [String], spellings: TokenBytesIndex) throws(TokenizerError) {
        let capacity = tableCapacity(for: merges.count)
        slots = .init(repeating: Slot(), count: capacity)
        shift = UInt64(64 - capacity.trailingZeroBitCount)
        mergedTokens.reserveCapacity(merges.count)
        for (index, merge) in merges.enumerated() {
            let (left, right, merged) = try Self.resolve(merge, at: index, spellings)
            let pair = Self.pair(left, right)
            let slot = self.slot(of: pair)
            guard slots[slot].rank == Self.noRank else {
                throw .duplicateMerge(index: index, first: Int(slots[slot].rank))
            }
            slots[slot] = Slot(pair: pair, rank: UInt32(index))
            mergedTokens.append(merged)
        }
    }

    /// The rank of the merge of two neighbours, `noRank` when there is none.
    func rank(_ left: Int32, _ right: Int32) -> UInt32 {
        slots[slot(of: Self.pair(left, right))].rank
    }

    /// The slot that holds `pair`, or the free one where it would be put.
    private func slot(of pair: UInt64) -> Int {
        let mask = slots.count - 1
        var slot = Int((pair &* multiplier) >> shift)
        while slots[slot].rank != Self.noRank, slots[slot].pair != pair {
            slot = (slot + 1) & mask
        }
        return slot
    }

    private static func pair(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    private static func resolve(
        _ merge: String, at index: Int, _ spellings: TokenBytesIndex
    ) throws(TokenizerError) -> (left: Int32, right: Int32, merged: Int32) {
        let parts = merge.utf8.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
            throw .malformedMerge(index: index, merge: merge)
        }
        let (left, right) = (Array(parts[0]), Array(parts[1]))
        return (
            try token(left, ofMergeAt: index, spellings),
            try token(right, ofMergeAt: index, spellings),
            try token(left + right, ofMergeAt: index, spellings)
        )
    }

    private static func token(
        _ spelling: [UInt8], ofMergeAt index: Int, _ spellings: TokenBytesIndex
    ) throws(TokenizerError) -> Int32 {
        guard let token = spellings.token(with: spelling) else {
            let text = String(decoding: spelling, as: UTF8.self)
            throw .unknownTokenInMerge(index: index, spelling: text)
        }
        return Int32(token)
    }
}
