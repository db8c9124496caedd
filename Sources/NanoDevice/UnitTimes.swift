import Synchronization

/// How long each execution unit has run tiles of each category of operations, and how long it has
/// waited for other units within programs; nanoseconds since the units were started.
///
/// A unit adds to its own cells only, so a plain load and store do; any thread may read.
package final class UnitTimes: Sendable {
    package let unitCount: Int
    package let categoryCount: Int
    // What each unit runs at the moment; the number of categories: nothing.
    private nonisolated(unsafe) let current: UnsafeMutablePointer<Atomic<Int>>  // (unit)
    // (unit, category), and behind a unit's categories what it waited.
    private nonisolated(unsafe) let cells: UnsafeMutablePointer<Atomic<UInt64>>

    init(unitCount: Int, categoryCount: Int) {
        self.unitCount = unitCount
        self.categoryCount = categoryCount
        let count = unitCount * (categoryCount + 1)
        cells = .allocate(capacity: count)
        for index in 0..<count { (cells + index).initialize(to: Atomic(0)) }
        current = .allocate(capacity: unitCount)
        for unit in 0..<unitCount { (current + unit).initialize(to: Atomic(categoryCount)) }
    }

    deinit {
        current.deinitialize(count: unitCount).deallocate()
        cells.deinitialize(count: unitCount * (categoryCount + 1)).deallocate()
    }

    /// Notes what a unit runs from now on; nil: nothing.
    func begin(_ category: Int?, unit: Int) {
        current[unit].store(category ?? categoryCount, ordering: .relaxed)
    }

    /// Whether a unit runs operations of a category at the moment.
    package func isRunning(_ category: Int) -> Bool {
        (0..<unitCount).contains { current[$0].load(ordering: .relaxed) == category }
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
