import Glibc

/// Keeps account of what a unit does: one reading of the clock at each change from one operation to
/// another, into the sums of ``UnitTimes`` and onto the ``Timeline``.
struct UnitClock {
    private let unit: Int
    private let times: UnitTimes
    private let timeline: Timeline
    private var program: UInt32 = 0
    /// nil: waiting.
    private var operation: Int?
    private var tileCount = 0
    private var since: UInt64 = 0

    init(unit: Int, times: UnitTimes, timeline: Timeline) {
        self.unit = unit
        self.times = times
        self.timeline = timeline
    }

    mutating func begin(program: UInt32) {
        self.program = program
        operation = nil
        since = monotonicNanoseconds()
    }

    /// The unit begins a tile.
    mutating func work(on next: Int, _ slot: ProgramSlot) {
        if operation != next {
            close(slot)
            operation = next
            times.begin(slot.category(of: next), unit: unit)
        }
        tileCount += 1
    }

    /// The unit has nothing to do.
    mutating func wait(_ slot: ProgramSlot) {
        if operation != nil { end(slot) }
    }

    mutating func end(_ slot: ProgramSlot) {
        close(slot)
        operation = nil
        times.begin(nil, unit: unit)
    }

    private mutating func close(_ slot: ProgramSlot) {
        let now = monotonicNanoseconds()
        if let operation {
            times.addRunning(now &- since, unit: unit, category: slot.category(of: operation))
            timeline.record(
                Timeline.Event(
                    start: since, end: now, program: program, operation: operation,
                    tileCount: tileCount),
                unit: unit)
        } else {
            times.addWaiting(now &- since, unit: unit)
        }
        tileCount = 0
        since = now
    }
}

/// The clock of ``UnitTimes`` and ``Timeline``; reading it takes some 20 ns.
package func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
}
