import Glibc

/// Moves bytes between memory and places of one file.
///
/// Used by one thread at a time. At most ``BlockLayout/transferLimit`` transfers are in flight,
/// each with a number of its own.
package protocol BlockTransfer: Sendable {
    /// For people.
    var name: String { get }

    /// Begins a transfer, at the latest with the next call of ``ended(waitingMicroseconds:)``.
    func begin(_ transfer: PositionedTransfer)

    /// The transfers that have ended; waits for one for a while where none has.
    func ended(waitingMicroseconds: Int) -> [EndedTransfer]
}

/// Bytes to be read into `buffer` from `offset` of the file, or written there from it.
package struct PositionedTransfer {
    /// What ``EndedTransfer/number`` repeats.
    package let number: Int
    package let isWrite: Bool
    /// Bytes from the file's beginning.
    package var offset: Int
    package var buffer: UnsafeMutableRawBufferPointer
    /// Times that the system has asked to try again.
    private var repeatCount = 0

    package init(number: Int, isWrite: Bool, offset: Int, buffer: UnsafeMutableRawBufferPointer) {
        self.number = number
        self.isWrite = isWrite
        self.offset = offset
        self.buffer = buffer
    }

    /// What is left to be done behind an end with `result`; nil when that was all.
    func rest(after result: Int) throws(BlockFileFault) -> PositionedTransfer? {
        var rest = self
        if result < 0 {
            let number = Int32(-result)
            guard number == EINTR || number == EAGAIN, repeatCount < 100 else {
                throw BlockFileFault(errno: number)
            }
            rest.repeatCount += 1
            return rest
        }
        if result >= buffer.count { return nil }
        // A transfer past the page cache begins at a page.
        let whole = result / BlockLayout.pageByteCount * BlockLayout.pageByteCount
        guard whole > 0 else { throw .shortTransfer }
        rest.offset += whole
        rest.buffer = UnsafeMutableRawBufferPointer(rebasing: buffer[whole...])
        return rest
    }
}

/// How a transfer ended.
package struct EndedTransfer: Sendable {
    package let number: Int
    /// Bytes that were moved, which may be fewer than asked for; negative: an error number.
    package let result: Int

    package init(number: Int, result: Int) {
        self.number = number
        self.result = result
    }
}

/// Transfers that have ended when they have begun, for where io_uring is not allowed.
package final class PlainTransfer: BlockTransfer {
    package let name = "pread/pwrite"
    private let descriptor: Int32
    private let ended = Locked<[EndedTransfer]>([])

    package init(descriptor: Int32) { self.descriptor = descriptor }

    package func begin(_ transfer: PositionedTransfer) {
        let buffer = transfer.buffer
        let moved =
            transfer.isWrite
            ? pwrite(descriptor, buffer.baseAddress, buffer.count, off_t(transfer.offset))
            : pread(descriptor, buffer.baseAddress, buffer.count, off_t(transfer.offset))
        let result = moved < 0 ? Int(-errno) : moved
        ended.withLock { $0.append(EndedTransfer(number: transfer.number, result: result)) }
    }

    package func ended(waitingMicroseconds: Int) -> [EndedTransfer] {
        ended.withLock { ended in
            defer { ended.removeAll() }
            return ended
        }
    }
}
