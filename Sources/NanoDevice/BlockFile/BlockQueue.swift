/// Commands on their way to the I/O thread, and completions on their way back.
final class BlockQueue: Sendable {
    private let state: Locked<State>
    private let arrivals = FutexWord()

    private struct State: Sendable {
        var reads: [BlockRead] = []
        var writes: [BlockWrite] = []
        var ended: [EndedBlockCommand] = []
        var counters = BlockFile.Counters()
        var nextOrder: UInt64 = 1
        var arrivalCount: UInt32 = 0
        var isClosing = false
        /// By slot: commands whose completions have not been drained; -1 for a write.
        var uses: [Int32]
    }

    init(slotCount: Int) {
        state = Locked(State(uses: Array(repeating: 0, count: slotCount)))
    }

    // MARK: - The caller's side

    func add(_ read: BlockRead) {
        arrive { state in
            precondition(state.uses[read.slot] >= 0, "A slot is not read while it is written.")
            state.uses[read.slot] += 1
            state.reads.append(read)
        }
    }

    func add(_ write: BlockWrite) {
        arrive { state in
            precondition(state.uses[write.slot] == 0, "A slot is not written while it is used.")
            state.uses[write.slot] = -1
            var write = write
            write.order = state.nextOrder
            state.nextOrder &+= 1
            state.writes.append(write)
        }
    }

    /// Writes from now on come behind what was written up to `order`.
    func raiseOrder(above order: UInt64) {
        state.withLock { $0.nextOrder = max($0.nextOrder, order &+ 1) }
    }

    func drain() -> [BlockFile.Completion] {
        state.withLock { state in
            if state.ended.isEmpty { return [] }
            for command in state.ended {
                state.uses[command.slot] = max(0, state.uses[command.slot] - 1)
            }
            defer { state.ended.removeAll(keepingCapacity: true) }
            return state.ended.map(\.completion)
        }
    }

    var counters: BlockFile.Counters { state.withLock { $0.counters } }

    /// Lets the thread end when it has done what is queued.
    func close() { arrive { $0.isClosing = true } }

    private func arrive(_ change: (inout State) -> Void) {
        let count = state.withLock { state in
            change(&state)
            state.arrivalCount &+= 1
            return state.arrivalCount
        }
        arrivals.advance(to: count)
    }

    // MARK: - The I/O thread's side

    /// What the thread took, and how many arrivals it has seen.
    struct Taken {
        let isClosing: Bool
        let arrivalCount: UInt32
    }

    /// Moves what was queued behind `reads` and, where there are none, to `writes`.
    func take(reads: inout [BlockRead], writes: inout [BlockWrite]) -> Taken {
        state.withLock { state in
            if !state.reads.isEmpty {
                reads += state.reads
                state.reads.removeAll(keepingCapacity: true)
            }
            if writes.isEmpty { swap(&writes, &state.writes) }
            return Taken(isClosing: state.isClosing, arrivalCount: state.arrivalCount)
        }
    }

    func publish(_ ended: [EndedBlockCommand], counters: BlockFile.Counters) {
        state.withLock { state in
            state.ended += ended
            state.counters = counters
        }
    }

    /// Sleeps until something arrives behind what was taken.
    func sleep(after taken: Taken) {
        arrivals.sleep(while: arrivals.load(), unlessReached: taken.arrivalCount &+ 1)
    }
}

/// A record to be written; its pieces stay as they are until the command has ended.
struct BlockWrite: Sendable {
    let slot: Int
    let name: BlockFingerprint
    var order: UInt64 = 0
    let ticket: Int
    nonisolated(unsafe) let pieces: [UnsafeRawBufferPointer]
}

/// A record to be read; nobody else touches its pieces until the command has ended.
struct BlockRead: Sendable {
    let slot: Int
    let name: BlockFingerprint
    let ticket: Int
    nonisolated(unsafe) let pieces: [UnsafeMutableRawBufferPointer]
}

struct EndedBlockCommand: Sendable {
    let slot: Int
    let completion: BlockFile.Completion
}
