import CNanoSystem
import Glibc
import Synchronization

/// Worker threads, one a core, that run tiled programs one after another.
///
/// Each unit walks a program's lanes: it waits on the counters of an operation's dependencies, then
/// takes tiles until none is left. The tiles of an operation are shared out in as many ways, runs of
/// neighbours, as there are units: a unit takes its own way's first, so that operations whose tiles
/// follow the same rows find them in the unit's caches, and then helps the others. A unit that the
/// system has put aside holds up only the tiles it has in hand. No lock is taken and nothing is
/// allocated while a program runs; units without a program spin briefly, then sleep.
///
/// `@unchecked Sendable`: `submit` and `stop` belong to one thread at a time (the engine's), the
/// counters are atomic, and a slot's plain fields are written before `submitted` is released.
package final class ExecutionUnits: @unchecked Sendable {
    package let count: Int
    /// How long the units have worked on each category of operations.
    package let times: UnitTimes
    /// What they have run of late.
    package let timeline: Timeline
    private let slots: [ProgramSlot]
    private let submitted = Atomic<UInt32>(0)
    // Rung after each submission and at the end: what idle units sleep on.
    private let bell = FutexWord()
    private let completed = FutexWord()
    private let isStopping = Atomic<Bool>(false)
    private var threads: [ServiceThread] = []

    /// Programs that may be submitted and not completed.
    package static let queueDepth = 2
    // One more slot than can be queued, times two: a unit that is late in leaving a completed
    // program must find its slot intact while the next ones are submitted.
    private static let slotCount = 4

    /// Starts `count` units, pinned in turn to `cpus` where there are as many.
    package init(count: Int, cpus: [Int], categoryCount: Int = 1) {
        precondition(count > 0, "There must be at least one execution unit.")
        self.count = count
        times = UnitTimes(unitCount: count, categoryCount: categoryCount)
        timeline = Timeline(unitCount: count)
        slots = (0..<Self.slotCount).map { _ in ProgramSlot(unitCount: count) }
        for unit in 0..<count {
            let cpu = count <= cpus.count ? cpus[unit] : nil
            threads.append(
                ServiceThread(name: "nano-unit-\(unit)", stackByteCount: 4 << 20) { [self] in
                    if let cpu { _ = ns_pin_to_cpu(Int32(cpu)) }
                    serve(unit: unit)
                })
        }
    }

    /// Queues a program behind those submitted before and returns its number, from 1.
    ///
    /// The caller keeps the program, and all that its tiles touch, alive and unchanged until
    /// ``wait(for:)`` has returned for it.
    package func submit(_ program: any TiledProgram) -> UInt32 {
        let number = submitted.load(ordering: .relaxed) &+ 1
        precondition(
            number &- completed.load() <= Self.queueDepth,
            "At most \(Self.queueDepth) programs may be in flight.")
        let slot = slots[Int(number) % Self.slotCount]
        while slot.departed.load(ordering: .acquiring) < count { sched_yield() }
        slot.fill(with: program, number: number)
        submitted.store(number, ordering: .releasing)
        bell.advance(to: bell.load() &+ 1)
        return number
    }

    /// Returns when every tile of the program has run; its effects are visible then.
    package func wait(for number: UInt32) {
        // Signed difference: the counters may wrap.
        while Int32(bitPattern: completed.load() &- number) < 0 {
            completed.sleep(while: completed.load(), unlessReached: number)
        }
    }

    /// Returns when no unit is in a program any more, and all of their times are noted.
    package func waitUntilIdle() {
        for slot in slots {
            while slot.departed.load(ordering: .acquiring) < count { sched_yield() }
        }
    }

    /// Ends the threads after the programs in flight.
    package func stop() {
        isStopping.store(true, ordering: .releasing)
        bell.advance(to: bell.load() &+ 1)
        threads.forEach { $0.join() }
        threads = []
    }

    private func serve(unit: Int) {
        var next: UInt32 = 1
        var walk = UnitWalk(unit: unit, times: times, timeline: timeline)
        while awaitProgram(next) {
            let slot = slots[Int(next) % Self.slotCount]
            if slot.roles[unit].isIdle {
                wait(for: next)
            } else {
                walk.walk(slot)
                if slot.announceOnce() { completed.advance(to: next) }
            }
            slot.departed.wrappingAdd(1, ordering: .releasing)
            next &+= 1
        }
    }

    private func awaitProgram(_ number: UInt32) -> Bool {
        // About 50 microseconds of spinning: longer than the engine takes between two steps when
        // it forms one ahead, shorter than anyone notices on an idle machine.
        var patience = 1000
        while true {
            let rings = bell.load()
            if Int32(bitPattern: submitted.load(ordering: .acquiring) &- number) >= 0 {
                return true
            }
            if isStopping.load(ordering: .acquiring) { return false }
            if patience > 0 {
                patience -= 1
                ns_pause()
            } else {
                bell.sleep(while: rings, unlessReached: rings &+ 1)
            }
        }
    }
}
