/// Names a sequence for as long as the engine lives; later sequences have larger ones.
package typealias SequenceID = Int

/// What one step computes: ranges of positions of sequences.
///
/// There are no phases: a decode is a range of one, a prefill chunk a longer one.
package struct Batch: Sendable {
    /// Which positions of a range are taken through the LM head.
    package enum Logits: Sendable, Hashable {
        /// None: the range ends before the sequence's last known token.
        case none
        /// The last one; a token is sampled from it.
        case last
        /// All: each next token that the prompt has is scored, and behind its last one is sampled.
        case all
    }

    /// One sequence's share of the step.
    package struct Item: Sendable {
        package let sequence: SequenceID
        package let slot: Int
        /// Positions whose tokens are computed.
        package let positions: Range<Int>
        package let logits: Logits
        /// The part of the sequence's block table that the pipeline has not been told yet.
        package let firstNewBlock: Int
        package let newBlocks: ArraySlice<Int32>

        package init(
            sequence: SequenceID, slot: Int, positions: Range<Int>, logits: Logits,
            firstNewBlock: Int, newBlocks: ArraySlice<Int32>
        ) {
            self.sequence = sequence
            self.slot = slot
            self.positions = positions
            self.logits = logits
            self.firstNewBlock = firstNewBlock
            self.newBlocks = newBlocks
        }
    }

    /// Steps count from 1.
    package let step: Int
    package var items: [Item]

    package init(step: Int, items: [Item] = []) {
        self.step = step
        self.items = items
    }

    package var tokenCount: Int { items.reduce(0) { $0 + $1.positions.count } }
}
