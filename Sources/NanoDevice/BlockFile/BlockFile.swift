import Glibc

/// The file of the KV cache's disk tier: records of one size in numbered slots, written and read by
/// a thread of its own.
///
/// Commands are queued, by one thread at a time, and end in any order; the thread tells so, and the
/// caller drains how. A slot is written only while nothing else is queued for it, and read only
/// while it is not written; a command counts as queued until its completion was drained.
///
/// Which record is in which slot, and which is to go, is the caller's business.
package final class BlockFile: Sendable {
    package static let fileName = "blocks.nanoflow"

    package let path: String
    package let layout: BlockLayout
    package let slotCount: Int
    package let openedAs: Opening
    /// How the file is read and written, for people.
    package let access: String

    private let descriptor: Int32
    private let staging: BlockStaging
    private let transfer: any BlockTransfer
    private let queue: BlockQueue
    private let thread: ServiceThread
    private let phase = Locked<Phase>(.new)

    private enum Phase { case new, used, closed }

    /// What was found when the file was opened.
    package enum Opening: Sendable, Hashable {
        case new
        /// The records of an earlier run can be used.
        case kept
        /// There was a file, and it was begun anew.
        case replaced(Replacement)
    }

    /// Why a file's records cannot be used.
    package enum Replacement: Sendable, Hashable {
        case damaged, otherVersion
        /// It was made by another model, precision or kernels.
        case otherSeed
        case otherRecordSize
    }

    /// How to move bytes.
    package enum TransferChoice: Sendable {
        /// io_uring where it is allowed.
        case automatic
        case uring
        case plain
        /// For tests; takes the file's descriptor.
        case custom(@Sendable (Int32) -> any BlockTransfer)
    }

    /// What the I/O thread asks and tells; called on that thread, and not to hold the file.
    package struct Hooks: Sendable {
        /// Whether memory's time can be spared for copying a record; asked before each write.
        let mayCopy: @Sendable () -> Bool
        /// There are completions to drain.
        let onCompletion: @Sendable () -> Void

        package init(
            mayCopy: @escaping @Sendable () -> Bool = { true },
            onCompletion: @escaping @Sendable () -> Void
        ) {
            self.mayCopy = mayCopy
            self.onCompletion = onCompletion
        }
    }

    /// A record that a scan has found; its payload was not looked at.
    package struct Record: Sendable, Hashable {
        package let slot: Int
        package let name: BlockFingerprint
        /// Grows from write to write, over restarts as well.
        package let order: UInt64
    }

    package struct Completion: Sendable, Hashable {
        package let ticket: Int
        package let outcome: Outcome
    }

    package enum Outcome: Sendable, Hashable {
        case done
        /// Nothing was copied to a read's pieces; a written slot holds anything.
        case failed(BlockFileFault)
    }

    /// Totals since the file was opened.
    package struct Counters: Sendable, Hashable {
        /// Bytes, with headers and padding.
        package internal(set) var writtenByteCount = 0
        package internal(set) var writtenRecordCount = 0
        /// Neighbouring records are written by one.
        package internal(set) var writeOperationCount = 0
        package internal(set) var readByteCount = 0
        package internal(set) var readRecordCount = 0
        /// Commands that have failed.
        package internal(set) var faults: [BlockFileFault: Int] = [:]
    }

    /// Opens the file, or makes it, with the directories that are missing.
    ///
    /// - Parameters:
    ///   - directory: Where the file is; nobody else's process may have it open.
    ///   - byteCount: What the file may take up; it grows as slots are written.
    ///   - payloadByteCount: Of a record.
    ///   - seed: What all records depend on: those of another seed are thrown away.
    ///   - transfer: How to move bytes.
    ///   - allowsDirect: Whether to go past the page cache where the file system can.
    ///   - hooks: What the I/O thread asks and tells.
    /// - Throws: ``BlockFileError`` where the file cannot be used, is not the user's alone, or has
    ///   no room for a record.
    package init(
        directory: String, byteCount: Int, payloadByteCount: Int, seed: BlockFingerprint,
        transfer: TransferChoice = .automatic, allowsDirect: Bool = true, hooks: Hooks
    ) throws(BlockFileError) {
        let layout = BlockLayout(payloadByteCount: payloadByteCount)
        let file = try BlockFileOpener(
            directory: directory, layout: layout, byteCount: byteCount, seed: seed,
            allowsDirect: allowsDirect
        ).open()
        do throws(BlockFileError) {
            self.transfer = try Self.makeTransfer(transfer, file)
            guard let staging = BlockStaging(layout: layout) else {
                throw BlockFileError(
                    code: .insufficientMemory, path: file.path, field: "staging memory",
                    limit: "available", given: "\(layout.stagingByteCount) bytes")
            }
            self.staging = staging
        } catch {
            Glibc.close(file.descriptor)
            throw error
        }
        path = file.path
        self.layout = layout
        slotCount = file.slotCount
        openedAs = file.openedAs
        access = "\(self.transfer.name), \(file.isDirect ? "O_DIRECT" : "buffered")"
        descriptor = file.descriptor
        queue = BlockQueue(slotCount: slotCount)
        thread = ServiceThread(name: "nano-io") { [staging, transfer = self.transfer, queue] in
            var loop = BlockIOLoop(
                layout: layout, staging: staging, queue: queue, transfer: transfer, hooks: hooks)
            loop.run()
        }
    }

    deinit { close() }

    private static func makeTransfer(
        _ choice: TransferChoice, _ file: OpenedBlockFile
    ) throws(BlockFileError) -> any BlockTransfer {
        switch choice {
        case .plain: return PlainTransfer(descriptor: file.descriptor)
        case .custom(let make): return make(file.descriptor)
        case .automatic:
            return UringTransfer(descriptor: file.descriptor)
                ?? PlainTransfer(descriptor: file.descriptor)
        case .uring:
            guard let transfer = UringTransfer(descriptor: file.descriptor) else {
                throw BlockFileError(
                    code: .noUring, path: file.path, field: "way of access",
                    limit: "allowed by the system", given: "io_uring")
            }
            return transfer
        }
    }

    /// Bytes of the memory that a file with such records works with.
    package static func stagingByteCount(payloadByteCount: Int) -> Int {
        BlockLayout(payloadByteCount: payloadByteCount).stagingByteCount
    }

    /// Finds the records whose headers are whole, in no order; some may have the same name.
    ///
    /// To be called before the first command; blocks for one small read a slot.
    ///
    /// - Parameter progress: Called now and then with the count of slots that were looked at.
    /// - Returns: The records; what their slots' payloads hold shows when they are read.
    package func scan(progress: (Int) -> Void = { _ in }) -> [Record] {
        phase.withLock { phase in
            precondition(phase == .new, "A file is scanned before it is used.")
        }
        let records = BlockScan(
            layout: layout, staging: staging, transfer: transfer, slotCount: slotCount
        ).run(progress: progress)
        queue.raiseOrder(above: records.map(\.order).max() ?? 0)
        return records
    }

    /// Queues a record to be written.
    ///
    /// - Parameters:
    ///   - slot: Where to.
    ///   - name: What the record is.
    ///   - pieces: The payload; alive and unchanged until the completion.
    ///   - ticket: What the completion repeats.
    package func write(
        slot: Int, name: BlockFingerprint, pieces: [UnsafeRawBufferPointer], ticket: Int
    ) {
        use(slot, byteCount: pieces.reduce(0) { $0 + $1.count })
        queue.add(BlockWrite(slot: slot, name: name, ticket: ticket, pieces: pieces))
    }

    /// Queues a record to be read.
    ///
    /// - Parameters:
    ///   - slot: Where from.
    ///   - name: What the record has to be.
    ///   - pieces: Where its payload goes; alive and untouched until the completion.
    ///   - ticket: What the completion repeats.
    package func read(
        slot: Int, name: BlockFingerprint, pieces: [UnsafeMutableRawBufferPointer], ticket: Int
    ) {
        use(slot, byteCount: pieces.reduce(0) { $0 + $1.count })
        queue.add(BlockRead(slot: slot, name: name, ticket: ticket, pieces: pieces))
    }

    private func use(_ slot: Int, byteCount: Int) {
        precondition((0..<slotCount).contains(slot), "The slot must exist.")
        precondition(
            byteCount == layout.payloadByteCount, "The pieces must be as long as a payload.")
        phase.withLock { phase in
            precondition(phase != .closed, "A closed file is not used.")
            phase = .used
        }
    }

    /// Takes the completions that have come since the last call.
    package func drain() -> [Completion] { queue.drain() }

    package var counters: Counters { queue.counters }

    /// Ends what is queued, and lets the file go; its completions can be drained still.
    package func close() {
        let wasClosed = phase.withLock { phase in
            defer { phase = .closed }
            return phase == .closed
        }
        if wasClosed { return }
        queue.close()
        thread.join()
        Glibc.close(descriptor)
    }
}
