package import NanoDevice

/// What each slot's sequence has beside its KV cache: tokens, block table, sampling.
///
/// The engine writes a slot's entries before it launches the first step that includes the
/// sequence, and block-table entries before the step that reaches them; the execution units write
/// each sampled token behind the ones before it. So a step can be launched before the tokens that
/// it embeds are known, and no entry is written by one side while the other uses it.
package struct SlotTables {
    private let tokens: UnsafeMutablePointer<Int32>  // (slot, sequence length)
    private let blocks: UnsafeMutablePointer<Int32>  // (slot, blocks of a sequence)
    private let samplings: UnsafeMutablePointer<SlotSampling>  // (slot)
    private let biases: UnsafeMutablePointer<LogitBias>  // (slot, maxBiasCount)
    private let sequenceLength: Int
    private let blocksPerSequence: Int

    /// Biases that a slot has room for.
    package static let maxBiasCount = 576

    package static func byteCount(_ limits: Scheduler.Limits) -> Int {
        let blocks = limits.blocks(for: limits.sequenceLength)
        return MemoryArena.byteCount(Int32.self, limits.sequences * limits.sequenceLength)
            + MemoryArena.byteCount(Int32.self, limits.sequences * blocks)
            + MemoryArena.byteCount(SlotSampling.self, limits.sequences)
            + MemoryArena.byteCount(LogitBias.self, limits.sequences * maxBiasCount)
    }

    package init(_ limits: Scheduler.Limits, arena: MemoryArena) {
        sequenceLength = limits.sequenceLength
        blocksPerSequence = limits.blocks(for: limits.sequenceLength)
        tokens = arena.cutFloor(Int32.self, limits.sequences * sequenceLength)
        blocks = arena.cutFloor(Int32.self, limits.sequences * blocksPerSequence)
        samplings = arena.cutFloor(SlotSampling.self, limits.sequences)
        biases = arena.cutFloor(LogitBias.self, limits.sequences * Self.maxBiasCount)
    }

    /// Begins a slot's sequence.
    package func begin(
        slot: Int, prompt: [Int32], sampling: SlotSampling, biases new: [LogitBias] = []
    ) {
        precondition(prompt.count <= sequenceLength, "A prompt must fit its slot.")
        precondition(
            new.count == sampling.biasCount && new.count <= Self.maxBiasCount,
            "A sequence's biases must fit its slot.")
        for (index, bias) in new.enumerated() {
            (biases + slot * Self.maxBiasCount + index).initialize(to: bias)
        }
        prompt.withUnsafeBufferPointer { source in
            guard let base = source.baseAddress else { return }
            history(slot).update(from: base, count: source.count)
        }
        (samplings + slot).initialize(to: sampling)
    }

    /// Writes new entries of a slot's block table.
    ///
    /// A sequence that resumes after a preemption starts at entry 0 again; the scheduler admits it
    /// when no step in flight reads those entries.
    package func setBlocks(slot: Int, from first: Int, _ new: ArraySlice<Int32>) {
        precondition(
            first + new.count <= blocksPerSequence, "A block table must fit its slot.")
        for (offset, block) in new.enumerated() { blockTable(slot)[first + offset] = block }
    }

    /// The slot's tokens by position.
    func history(_ slot: Int) -> UnsafeMutablePointer<Int32> { tokens + slot * sequenceLength }

    /// The slot's blocks by position / block size.
    func blockTable(_ slot: Int) -> UnsafeMutablePointer<Int32> {
        blocks + slot * blocksPerSequence
    }

    func sampling(_ slot: Int) -> SlotSampling { samplings[slot] }

    /// The biases of the slot that hold for the token behind `count` tokens.
    func biases(_ slot: Int, at count: Int) -> UnsafeBufferPointer<LogitBias> {
        let range = samplings[slot].biases(at: count)
        return UnsafeBufferPointer(
            start: biases + slot * Self.maxBiasCount + range.lowerBound, count: range.count)
    }
}

extension MemoryArena {
    /// As ``cut(_:count:)``; the address alone, for parts that are never empty.
    func cutFloor<Element>(_ type: Element.Type, _ count: Int) -> UnsafeMutablePointer<Element> {
        guard let base = cut(type, count: count).baseAddress else {
            preconditionFailure("A part of arena \(name) is empty.")
        }
        return base
    }
}
