import CNanoSystem
import Glibc

/// Transfers through io_uring: many in flight, one system call for several.
package final class UringTransfer: BlockTransfer {
    package let name = "io_uring"
    private nonisolated(unsafe) let ring: OpaquePointer

    /// Nil where the system does not allow io_uring.
    package init?(descriptor: Int32) {
        // Twice the transfers: before Linux 5.11 a wait with a limit of time is an entry as well.
        guard let ring = ns_uring_open(descriptor, UInt32(2 * BlockLayout.transferLimit)) else {
            return nil
        }
        self.ring = ring
    }

    deinit { ns_uring_close(ring) }

    package func begin(_ transfer: PositionedTransfer) {
        let wasEntered = ns_uring_enter(
            ring, transfer.isWrite, transfer.buffer.baseAddress, UInt32(transfer.buffer.count),
            UInt64(transfer.offset), UInt64(transfer.number))
        precondition(wasEntered, "More transfers were begun than may be in flight.")
    }

    package func ended(waitingMicroseconds: Int) -> [EndedTransfer] {
        check(ns_uring_submit(ring))
        let ended = takeEnded()
        guard ended.isEmpty, waitingMicroseconds > 0 else { return ended }
        check(ns_uring_wait(ring, Int64(waitingMicroseconds)))
        return takeEnded()
    }

    private func takeEnded() -> [EndedTransfer] {
        var ended: [EndedTransfer] = []
        var (number, result) = (UInt64(0), Int32(0))
        while ns_uring_take(ring, &number, &result) {
            ended.append(EndedTransfer(number: Int(number), result: Int(result)))
        }
        return ended
    }

    /// What the system could not take stays in the ring, and goes with the next call.
    private func check(_ status: Int32) {
        precondition(
            status >= 0 || [-ETIME, -EINTR, -EAGAIN, -EBUSY].contains(status),
            "io_uring refused a call: error \(-status).")
    }
}
