import Glibc

/// What the I/O thread does: takes commands, moves their records, and tells how they ended.
///
/// Reads go first; writes of neighbouring slots that were queued together go as one.
struct BlockIOLoop: ~Copyable {
    private let layout: BlockLayout
    private let staging: BlockStaging
    private let queue: BlockQueue
    private let transfer: any BlockTransfer
    private let hooks: BlockFile.Hooks

    private var reads: [BlockRead] = []
    /// In the order of their slots, and how many of them have been copied.
    private var writes: [BlockWrite] = []
    private var copiedCount = 0
    private var copyDeadline: UInt64?
    private var openRun: Run?
    private var freeBuffers: [Int]
    private var freeRuns: [Int]
    /// By the transfers' numbers: read buffers, and runs behind them.
    private var flights: [Flight?]
    private var flightCount = 0
    private var ended: [EndedBlockCommand] = []
    private var counters = BlockFile.Counters()
    private var checksum = BlockChecksum()

    /// Neighbouring records that become one write.
    private struct Run {
        let number: Int
        var writes: [BlockWrite] = []
    }

    private struct Flight {
        var transfer: PositionedTransfer
        let work: Work

        enum Work {
            case read(BlockRead)
            case write([BlockWrite])
        }
    }

    private enum Progress { case made, delayed, none }

    /// What a write waits at most before it is copied while the units compute, nanoseconds.
    private static let copyPatience: UInt64 = 2_000_000
    /// How often a delayed copy asks again, microseconds.
    private static let copyPause = 50
    /// How long a new command may go unseen while transfers are in flight, microseconds.
    private static let longestWait = 500

    init(
        layout: BlockLayout, staging: BlockStaging, queue: BlockQueue,
        transfer: any BlockTransfer, hooks: BlockFile.Hooks
    ) {
        self.layout = layout
        self.staging = staging
        self.queue = queue
        self.transfer = transfer
        self.hooks = hooks
        freeBuffers = Array(0..<layout.readBufferCount)
        freeRuns = Array(0..<BlockLayout.runCount)
        flights = Array(repeating: nil, count: layout.readBufferCount + BlockLayout.runCount)
    }

    /// Runs until the queue is closed and all that was queued has ended.
    mutating func run() {
        while true {
            let taken = takeQueued()
            beginReads()
            // What has ended is not to wait for a copy, and not for the next command.
            publish()
            switch copyNextWrite() {
            case .made: endTransfers(waitingMicroseconds: 0)
            case .delayed: pause()
            case .none where flightCount > 0:
                endTransfers(waitingMicroseconds: Self.longestWait)
            case .none where taken.isClosing: return
            case .none: queue.sleep(after: taken)
            }
            publish()
        }
    }

    private mutating func takeQueued() -> BlockQueue.Taken {
        let hadWrites = !writes.isEmpty
        let taken = queue.take(reads: &reads, writes: &writes)
        if !hadWrites { writes.sort { $0.slot < $1.slot } }
        return taken
    }

    private mutating func publish() {
        guard !ended.isEmpty else { return }
        queue.publish(ended, counters: counters)
        ended.removeAll(keepingCapacity: true)
        hooks.onCompletion()
    }

    private mutating func end(slot: Int, ticket: Int, _ outcome: BlockFile.Outcome) {
        if case .failed(let fault) = outcome { counters.faults[fault, default: 0] += 1 }
        ended.append(
            EndedBlockCommand(
                slot: slot, completion: BlockFile.Completion(ticket: ticket, outcome: outcome)))
    }

    // MARK: - Transfers

    private mutating func begin(_ number: Int, _ flight: Flight) {
        flights[number] = flight
        flightCount += 1
        transfer.begin(flight.transfer)
    }

    private mutating func endTransfers(waitingMicroseconds: Int) {
        for end in transfer.ended(waitingMicroseconds: waitingMicroseconds) {
            guard var flight = flights[end.number] else {
                preconditionFailure("A transfer ended that was not begun.")
            }
            do throws(BlockFileFault) {
                if let rest = try flight.transfer.rest(after: end.result) {
                    flight.transfer = rest
                    flights[end.number] = flight
                    transfer.begin(rest)
                    continue
                }
                finish(flight, number: end.number, fault: nil)
            } catch {
                finish(flight, number: end.number, fault: error)
            }
            flights[end.number] = nil
            flightCount -= 1
        }
    }

    private mutating func finish(_ flight: Flight, number: Int, fault: BlockFileFault?) {
        switch flight.work {
        case .read(let read):
            finish(read, buffer: number, fault: fault)
            freeBuffers.append(number)
        case .write(let writes):
            finish(writes, fault: fault)
            freeRuns.append(number - layout.readBufferCount)
        }
    }

    /// Lets a moment pass in which the units may end what they compute.
    private mutating func pause() {
        if flightCount > 0 {
            endTransfers(waitingMicroseconds: Self.copyPause)
        } else {
            var time = timespec(tv_sec: 0, tv_nsec: Self.copyPause * 1000)
            nanosleep(&time, nil)
        }
    }

    // MARK: - Reads

    private mutating func beginReads() {
        let count = min(reads.count, freeBuffers.count)
        guard count > 0 else { return }
        for read in reads[..<count] {
            let number = freeBuffers.removeLast()
            let transfer = PositionedTransfer(
                number: number, isWrite: false, offset: layout.offset(ofSlot: read.slot),
                buffer: staging.readBuffer(number))
            begin(number, Flight(transfer: transfer, work: .read(read)))
        }
        reads.removeFirst(count)
        // At once: a copy may come next, which takes its time.
        endTransfers(waitingMicroseconds: 0)
    }

    private mutating func finish(_ read: BlockRead, buffer: Int, fault: BlockFileFault?) {
        do throws(BlockFileFault) {
            if let fault { throw fault }
            let record = UnsafeRawBufferPointer(staging.readBuffer(buffer))
            try BlockRecord.copy(record, to: read, layout: layout)
            counters.readRecordCount += 1
            counters.readByteCount += layout.slotByteCount
            end(slot: read.slot, ticket: read.ticket, .done)
        } catch {
            end(slot: read.slot, ticket: read.ticket, .failed(error))
        }
    }

    // MARK: - Writes

    /// Copies one record, if there is one, room for it, and the units can spare the memory's time.
    private mutating func copyNextWrite() -> Progress {
        guard copiedCount < writes.count else { return .none }
        guard openRun != nil || !freeRuns.isEmpty else { return .none }
        guard mayCopy() else { return .delayed }
        var run = openRun ?? Run(number: freeRuns.removeLast())
        openRun = nil
        let write = writes[copiedCount]
        BlockRecord.copy(
            write, to: staging.record(run.writes.count, ofRun: run.number), layout: layout,
            checksum: &checksum)
        run.writes.append(write)
        copiedCount += 1
        if run.writes.count < layout.runCapacity, copiedCount < writes.count,
            writes[copiedCount].slot == write.slot + 1
        {
            openRun = run
        } else {
            begin(run)
        }
        if copiedCount == writes.count {
            writes.removeAll(keepingCapacity: true)
            copiedCount = 0
        }
        return .made
    }

    private mutating func mayCopy() -> Bool {
        let now = monotonicNanoseconds()
        let deadline = copyDeadline ?? now + Self.copyPatience
        let may = hooks.mayCopy() || now >= deadline
        copyDeadline = may ? nil : deadline
        return may
    }

    private mutating func begin(_ run: Run) {
        let number = layout.readBufferCount + run.number
        let transfer = PositionedTransfer(
            number: number, isWrite: true, offset: layout.offset(ofSlot: run.writes[0].slot),
            buffer: staging.run(run.number, count: run.writes.count))
        begin(number, Flight(transfer: transfer, work: .write(run.writes)))
    }

    private mutating func finish(_ writes: [BlockWrite], fault: BlockFileFault?) {
        counters.writeOperationCount += 1
        if fault == nil {
            counters.writtenRecordCount += writes.count
            counters.writtenByteCount += writes.count * layout.slotByteCount
        }
        for write in writes {
            end(slot: write.slot, ticket: write.ticket, fault.map { .failed($0) } ?? .done)
        }
    }
}
