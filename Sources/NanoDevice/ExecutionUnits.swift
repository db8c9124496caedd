import CNanoSystem
import Glibc
import Synchronization

/// Work that execution units share: operations in an order, each cut into independent tiles.
///
/// `dependencies(of:)` and `tileCount(of:)` are asked once, when the program is submitted; `run`
/// is called from the units' threads, every tile exactly once, after all tiles of the operation's
/// dependencies. A dependency stands earlier in the order.
package protocol TiledProgram: AnyObject {
    var operationCount: Int { get }
    func tileCount(of operation: Int) -> Int
    func dependencies(of operation: Int) -> [Int]
    func run(operation: Int, tile: Int, unit: Int)
}

/// Worker threads, one a core, that run tiled programs one after another.
///
/// Each unit walks a program's operations in order: it waits on the counters of an operation's
/// dependencies, then takes tiles until none is left. The tiles of an operation are shared out in
/// as many ways, runs of neighbours, as there are units: a unit takes its own way's first, so that
/// operations whose tiles follow the same rows find them in the unit's caches, and then helps the
/// others. A unit that the system has put aside holds up only the tile it has in hand. No lock is
/// taken and nothing is allocated while a program runs; units without a program spin briefly, then
/// sleep. Each operation costs a unit two readings of the clock, which ``times`` sums up.
///
/// `@unchecked Sendable`: `submit` and `stop` belong to one thread at a time (the engine's), the
/// counters are atomic, and a slot's plain fields are written before `submitted` is released.
package final class ExecutionUnits: @unchecked Sendable {
    package let count: Int
    /// How long the units have worked on each operation, by its index in the program.
    package let times: UnitTimes
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
    package init(count: Int, cpus: [Int], maxOperationCount: Int) {
        precondition(count > 0, "There must be at least one execution unit.")
        self.count = count
        let times = UnitTimes(unitCount: count, operationCount: maxOperationCount)
        self.times = times
        slots = (0..<Self.slotCount).map { _ in ProgramSlot(times: times) }
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
        slot.fill(with: program)
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

    /// Ends the threads after the programs in flight.
    package func stop() {
        isStopping.store(true, ordering: .releasing)
        bell.advance(to: bell.load() &+ 1)
        threads.forEach { $0.join() }
        threads = []
    }

    private func serve(unit: Int) {
        var next: UInt32 = 1
        while awaitProgram(next) {
            let slot = slots[Int(next) % Self.slotCount]
            slot.walk(unit: unit)
            if slot.announceOnce() { completed.advance(to: next) }
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

/// A submitted program with its counters.
private final class ProgramSlot {
    private var program: (any TiledProgram)?
    private var operationCount = 0
    private let capacity: Int
    private let times: UnitTimes
    private let tileCounts: UnsafeMutablePointer<Int>
    /// Operation i depends on `dependencies[dependencyEnds[i - 1]..<dependencyEnds[i]]`.
    private let dependencyEnds: UnsafeMutablePointer<Int>
    private var dependencies: UnsafeMutableBufferPointer<Int>
    private let unitCount: Int
    private let claimed: UnsafeMutablePointer<Atomic<Int>>  // (operation, way)
    private let finished: UnsafeMutablePointer<Atomic<Int>>
    private let isAnnounced = Atomic<Bool>(false)
    /// Units that have left the program; all of them before the slot is filled again.
    let departed: Atomic<Int>

    init(times: UnitTimes) {
        self.times = times
        capacity = times.operationCount
        tileCounts = .allocate(capacity: capacity)
        dependencyEnds = .allocate(capacity: capacity)
        dependencies = .allocate(capacity: 2 * capacity)
        unitCount = times.unitCount
        claimed = .allocate(capacity: capacity * unitCount)
        finished = .allocate(capacity: capacity)
        for index in 0..<capacity * unitCount { (claimed + index).initialize(to: Atomic(0)) }
        for index in 0..<capacity { (finished + index).initialize(to: Atomic(0)) }
        departed = Atomic(times.unitCount)
    }

    deinit {
        claimed.deinitialize(count: capacity * unitCount).deallocate()
        finished.deinitialize(count: capacity).deallocate()
        dependencies.deallocate()
        dependencyEnds.deallocate()
        tileCounts.deallocate()
    }

    func fill(with program: any TiledProgram) {
        operationCount = program.operationCount
        precondition(operationCount <= capacity, "The program has more operations than planned.")
        self.program = program
        var dependencyCount = 0
        for index in 0..<operationCount {
            for dependency in program.dependencies(of: index) {
                precondition(
                    dependency < index, "An operation must stand behind its dependencies.")
                if dependencyCount == dependencies.count { growDependencies() }
                dependencies[dependencyCount] = dependency
                dependencyCount += 1
            }
            dependencyEnds[index] = dependencyCount
            tileCounts[index] = program.tileCount(of: index)
            for way in 0..<unitCount {
                claimed[index * unitCount + way].store(0, ordering: .relaxed)
            }
            finished[index].store(0, ordering: .relaxed)
        }
        isAnnounced.store(false, ordering: .relaxed)
        departed.store(0, ordering: .relaxed)
    }

    /// Programs of one kind have the same dependencies, so this happens at most a few times.
    private func growDependencies() {
        let grown = UnsafeMutableBufferPointer<Int>.allocate(capacity: 2 * dependencies.count + 1)
        _ = grown.update(fromContentsOf: dependencies)
        dependencies.deallocate()
        dependencies = grown
    }

    func walk(unit: Int) {
        guard let program else { preconditionFailure("A unit walked an empty slot.") }
        var arrived = monotonicNanoseconds()
        var firstDependency = 0
        for index in 0..<operationCount {
            for position in firstDependency..<dependencyEnds[index] {
                awaitAll(dependencies[position])
            }
            firstDependency = dependencyEnds[index]
            let begun = monotonicNanoseconds()
            runTiles(of: index, program, unit)
            let ended = monotonicNanoseconds()
            times.add(
                unit: unit, operation: index, waiting: begun &- arrived, running: ended &- begun)
            arrived = ended
        }
        for index in 0..<operationCount { awaitAll(index) }
        guard operationCount > 0 else { return }
        times.add(
            unit: unit, operation: operationCount - 1, waiting: monotonicNanoseconds() &- arrived,
            running: 0)
    }

    /// Runs the unit's own way first, then what is left of the others'.
    ///
    ///     7 tiles, 2 ways:  [ 0 1 2 )[ 3 4 5 6 )
    private func runTiles(of index: Int, _ program: any TiledProgram, _ unit: Int) {
        let count = tileCounts[index]
        for offset in 0..<unitCount {
            let way = (unit + offset) % unitCount
            let tiles = count * way / unitCount..<count * (way + 1) / unitCount
            let next = claimed + index * unitCount + way
            // Looked at first: on many units most of the others' ways are done.
            while next.pointee.load(ordering: .relaxed) < tiles.count {
                let tile = next.pointee.wrappingAdd(1, ordering: .relaxed).oldValue
                guard tile < tiles.count else { break }
                program.run(operation: index, tile: tiles.lowerBound + tile, unit: unit)
                finished[index].wrappingAdd(1, ordering: .releasing)
            }
        }
    }

    /// True for the first unit that asks.
    func announceOnce() -> Bool {
        !isAnnounced.exchange(true, ordering: .acquiringAndReleasing)
    }

    private func awaitAll(_ index: Int) {
        // Another unit has the last tiles in hand. On few cores it may need this very core.
        var patience = 200
        while finished[index].load(ordering: .acquiring) < tileCounts[index] {
            if patience > 0 {
                patience -= 1
                ns_pause()
            } else {
                sched_yield()
            }
        }
    }
}
