/// Which blocks the tier below memory has, and in which slots of its file: bookkeeping on integers.
///
/// A slot is empty, being written, or has a record; records that are being read stay where they are.
/// When no slot is empty the record that was used least recently makes room.
package struct TierIndex: Sendable {
    package let slotCount: Int
    private var empty: [Int32]
    private var names: [BlockName?]
    private var slots: [BlockName: Int32] = [:]
    private var isWritten: [Bool]
    private var readerCounts: [Int]
    // Records that are neither being written nor read.
    private var idle: RecencyList

    /// - Parameters:
    ///   - slotCount: Records that the tier has room for, at least 1.
    ///   - records: Those that an earlier run has left, the least recently used first.
    package init(slotCount: Int, records: [(name: BlockName, slot: Int)] = []) {
        precondition(slotCount > 0, "The tier must have room for a record.")
        self.slotCount = slotCount
        names = Array(repeating: nil, count: slotCount)
        isWritten = Array(repeating: false, count: slotCount)
        readerCounts = Array(repeating: 0, count: slotCount)
        idle = RecencyList(count: slotCount)
        for (name, slot) in records where slots[name] == nil && names[slot] == nil {
            names[slot] = name
            slots[name] = Int32(slot)
            isWritten[slot] = true
            idle.append(Int32(slot))
        }
        // The first ones are taken first, so that neighbours are written together.
        empty = []
        empty = (0..<Int32(slotCount)).filter { names[Int($0)] == nil }.reversed()
    }

    package var recordCount: Int { slots.count }

    /// Whether the tier has a block, or is about to.
    package func contains(_ name: BlockName) -> Bool { slots[name] != nil }

    package func isBeingWritten(_ name: BlockName) -> Bool {
        slots[name].map { !isWritten[Int($0)] } ?? false
    }

    /// How many blocks at the beginning of a prefix can be read.
    package func readableCount(_ prefix: some Sequence<BlockName>) -> Int {
        var count = 0
        for name in prefix {
            guard let slot = slots[name], isWritten[Int(slot)] else { break }
            count += 1
        }
        return count
    }

    /// Notes that a block is used, wherever it is.
    package mutating func touch(_ name: BlockName) {
        guard let slot = slots[name], isIdle(slot) else { return }
        idle.remove(slot)
        idle.append(slot)
    }

    /// A slot for a block that the tier does not have; nil: all are being written or read.
    package mutating func beginWrite(_ name: BlockName) -> Int? {
        precondition(slots[name] == nil, "A block is written once.")
        guard let slot = empty.popLast() ?? forgetOldest() else { return nil }
        names[Int(slot)] = name
        slots[name] = slot
        return Int(slot)
    }

    package mutating func endWrite(slot: Int, succeeded: Bool) {
        precondition(names[slot] != nil && !isWritten[slot], "The slot is not being written.")
        isWritten[slot] = true
        if succeeded { idle.append(Int32(slot)) } else { forget(Int32(slot)) }
    }

    /// The slot of a block that can be read; it keeps its record until the read has ended.
    package mutating func beginRead(_ name: BlockName) -> Int {
        guard let slot = slots[name], isWritten[Int(slot)] else {
            preconditionFailure("The tier does not have the block.")
        }
        if isIdle(slot) { idle.remove(slot) }
        readerCounts[Int(slot)] += 1
        return Int(slot)
    }

    /// Notes that a read has ended; a record that cannot be read is forgotten.
    package mutating func endRead(slot: Int, succeeded: Bool) {
        precondition(readerCounts[slot] > 0, "Nobody reads the slot.")
        readerCounts[slot] -= 1
        if !succeeded, let name = names[slot] {
            // Others may still be reading it: the slot is empty when they have ended.
            slots[name] = nil
            names[slot] = nil
        }
        guard readerCounts[slot] == 0 else { return }
        if names[slot] == nil { clear(Int32(slot)) } else { idle.append(Int32(slot)) }
    }

    /// Forgets a record that nobody will ask for, unless it is being written or read.
    package mutating func forget(_ name: BlockName) {
        guard let slot = slots[name], isIdle(slot) else { return }
        idle.remove(slot)
        forget(slot)
    }

    private func isIdle(_ slot: Int32) -> Bool {
        isWritten[Int(slot)] && readerCounts[Int(slot)] == 0
    }

    private mutating func forgetOldest() -> Int32? {
        guard let slot = idle.removeOldest() else { return nil }
        if let name = names[Int(slot)] { slots[name] = nil }
        names[Int(slot)] = nil
        isWritten[Int(slot)] = false
        return slot
    }

    private mutating func forget(_ slot: Int32) {
        if let name = names[Int(slot)] { slots[name] = nil }
        names[Int(slot)] = nil
        clear(slot)
    }

    private mutating func clear(_ slot: Int32) {
        isWritten[Int(slot)] = false
        empty.append(slot)
    }

    /// Checks that every slot is in one state, and that names lead to their slots; for tests.
    package func checkInvariants() {
        precondition(
            slots.count == names.count { $0 != nil }
                && slots.allSatisfy { names[Int($0.value)] == $0.key },
            "A name does not lead to its slot.")
        var times = [Int](repeating: 0, count: slotCount)
        for slot in idle.numbers + empty { times[Int(slot)] += 1 }
        precondition(
            times.allSatisfy { $0 <= 1 }, "A slot is empty twice, or empty and has a record.")
        for slot in 0..<Int32(slotCount) {
            let isNamed = names[Int(slot)] != nil
            let isBusy = readerCounts[Int(slot)] > 0 || isNamed && !isWritten[Int(slot)]
            precondition(times[Int(slot)] == (isBusy ? 0 : 1), "A slot is in the wrong state.")
        }
    }
}
