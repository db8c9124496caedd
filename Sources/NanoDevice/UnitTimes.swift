import Glibc
import Synchronization

/// How long each execution unit has run tiles of each operation of its programs, and how long it
/// has waited for other units before each; nanoseconds since the units were started.
///
/// A unit adds to its own cells only, so a plain load and store do; any thread may read.
package final class UnitTimes: Sendable {
    private struct Cell: ~Copyable {
        let waiting = Atomic<UInt64>(0)
        let running = Atomic<UInt64>(0)
    }

    package let unitCount: Int
    package let operationCount: Int
    private nonisolated(unsafe) let cells: UnsafeMutablePointer<Cell>  // (unit, operation)

    init(unitCount: Int, operationCount: Int) {
        self.unitCount = unitCount
        self.operationCount = operationCount
        cells = .allocate(capacity: unitCount * operationCount)
        for index in 0..<unitCount * operationCount { (cells + index).initialize(to: Cell()) }
    }

    deinit {
        cells.deinitialize(count: unitCount * operationCount).deallocate()
    }

    /// Notes that `unit` waited for operation `operation` and then ran tiles of it.
    func add(unit: Int, operation: Int, waiting: UInt64, running: UInt64) {
        let cell = cells + unit * operationCount + operation
        Self.add(waiting, to: cell.pointee.waiting)
        Self.add(running, to: cell.pointee.running)
    }

    /// Nanoseconds by operation, summed over the units.
    package func totals() -> [(waiting: UInt64, running: UInt64)] {
        (0..<operationCount).map { operation in
            var total: (waiting: UInt64, running: UInt64) = (0, 0)
            for unit in 0..<unitCount {
                let cell = cells + unit * operationCount + operation
                total.waiting += cell.pointee.waiting.load(ordering: .relaxed)
                total.running += cell.pointee.running.load(ordering: .relaxed)
            }
            return total
        }
    }

    private static func add(_ nanoseconds: UInt64, to counter: borrowing Atomic<UInt64>) {
        counter.store(counter.load(ordering: .relaxed) &+ nanoseconds, ordering: .relaxed)
    }
}

/// The clock of ``UnitTimes``; reading it takes some 20 ns.
func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
}
