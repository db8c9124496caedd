package import NanoFlow

extension Batch.Item {
    package static func decode(slot: Int, position: Int) -> Batch.Item {
        Batch.Item(
            sequence: slot, slot: slot, positions: position..<position + 1, logits: .last,
            firstNewBlock: 0, newBlocks: [])
    }

    package static func prefill(slot: Int, positions: Range<Int>) -> Batch.Item {
        Batch.Item(
            sequence: slot, slot: slot, positions: positions, logits: .last, firstNewBlock: 0,
            newBlocks: [])
    }
}
