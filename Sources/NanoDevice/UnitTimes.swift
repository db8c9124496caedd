import Synchronization

/// How long each execution unit has run tiles of each category of operations, and how long it has
/// waited for other units within programs; nanoseconds since the units were started.
///
/// A unit adds to its own cells only, so a plain load and store do; any thread may read.
package final class UnitTimes: Sendable {
    package let unitCount: Int
    package let categoryCount: Int
    // (unit, category), and behind a unit's categories what it waited.
    private nonisolated(unsafe) let cells: UnsafeMutablePointer<Atomic<UInt64>>

    init(unitCount: Int, categoryCount: Int) {
        self.unitCount = unitCount
        self.categoryCount = categoryCount
        let count = unitCount * (categoryCount + 1)
        cells = .allocate(capacity: count)
        for index in 0..<count { (cells + index).initialize(to: Atomic(0)) }
    }

    deinit {
        cells.deinitialize(count: unitCount * (categoryCount + 1)).deallocate()
    }

    func addRunning(_ nanoseconds: UInt64, unit: Int, category: Int) {
        add(nanoseconds, to: unit * (categoryCount + 1) + category)
    }

    func addWaiting(_ nanoseconds: UInt64, unit: Int) {
        add(nanoseconds, to: unit * (categoryCount + 1) + categoryCount)
    }

    /// Nanoseconds by category, summed over the units.
    package func running() -> [UInt64] { (0..<categoryCount).map(total) }

    /// Nanoseconds that units waited, summed over them.
    package func waiting() -> UInt64 { total(categoryCount) }

    private func total(_ category: Int) -> UInt64 {
        (0..<unitCount).reduce(0) {
            $0 + cells[$1 * (categoryCount + 1) + category].load(ordering: .relaxed)
        }
    }

    private func add(_ nanoseconds: UInt64, to index: Int) {
        let cell = cells + index
        cell.pointee.store(
            cell.pointee.load(ordering: .relaxed) &+ nanoseconds, ordering: .relaxed)
    }
}
