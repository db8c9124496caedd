import Synchronization

/// What each execution unit has run of late: a ring of events a unit, always on.
///
/// A unit writes to its own ring only; any thread may read at any time and gets whole events.
package final class Timeline: Sendable {
    /// A run of tiles of one operation by one unit.
    package struct Event: Sendable, Hashable {
        /// Of ``monotonicNanoseconds()``.
        package let start: UInt64
        package let end: UInt64
        /// The number of the program, as it was submitted.
        package let program: UInt32
        /// Within the program.
        package let operation: Int
        package let tileCount: Int

        package init(
            start: UInt64, end: UInt64, program: UInt32, operation: Int, tileCount: Int
        ) {
            self.start = start
            self.end = end
            self.program = program
            self.operation = operation
            self.tileCount = tileCount
        }
    }

    /// Events that a unit's ring holds.
    package let capacity: Int
    private let unitCount: Int
    private static let wordsPerEvent = 4
    // (unit, event, word): words of their own, so that a reader meets no half-written one.
    private nonisolated(unsafe) let words: UnsafeMutablePointer<Atomic<UInt64>>
    private nonisolated(unsafe) let written: UnsafeMutablePointer<Atomic<Int>>  // (unit)

    package init(unitCount: Int, capacity: Int = 1 << 15) {
        self.unitCount = unitCount
        self.capacity = capacity
        let count = unitCount * capacity * Self.wordsPerEvent
        words = .allocate(capacity: count)
        for index in 0..<count { (words + index).initialize(to: Atomic(0)) }
        written = .allocate(capacity: unitCount)
        for unit in 0..<unitCount { (written + unit).initialize(to: Atomic(0)) }
    }

    deinit {
        words.deinitialize(count: unitCount * capacity * Self.wordsPerEvent).deallocate()
        written.deinitialize(count: unitCount).deallocate()
    }

    /// Notes an event; called by the unit's own thread.
    package func record(_ event: Event, unit: Int) {
        let count = written[unit].load(ordering: .relaxed)
        let place = words + (unit * capacity + count % capacity) * Self.wordsPerEvent
        place[0].store(event.start, ordering: .releasing)
        place[1].store(event.end, ordering: .releasing)
        place[2].store(
            UInt64(event.program) << 32 | UInt64(UInt32(event.operation)), ordering: .releasing)
        place[3].store(UInt64(event.tileCount), ordering: .releasing)
        written[unit].store(count + 1, ordering: .releasing)
    }

    /// The unit's latest events, in their order.
    package func events(unit: Int) -> [Event] {
        let end = written[unit].load(ordering: .acquiring)
        let first = max(0, end - capacity)
        let events = (first..<end).map { index -> Event in
            let place = words + (unit * capacity + index % capacity) * Self.wordsPerEvent
            let name = place[2].load(ordering: .acquiring)
            return Event(
                start: place[0].load(ordering: .acquiring),
                end: place[1].load(ordering: .acquiring), program: UInt32(name >> 32),
                operation: Int(name & 0xffff_ffff),
                tileCount: Int(place[3].load(ordering: .acquiring)))
        }
        // The unit may have written on meanwhile, over the oldest ones and into one more.
        let overwritten = written[unit].load(ordering: .acquiring) + 1 - capacity
        return Array(events.dropFirst(max(0, overwritten - first)))
    }
}
