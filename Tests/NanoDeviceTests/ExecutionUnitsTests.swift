import Glibc
import NanoDevice
import NanoTestSupport
import Synchronization
import Testing

@Suite(.serialized) struct ExecutionUnitsTests {
    /// One unit, as many as small machines have, and more than any has cores to spare.
    @Test(arguments: [1, 2, 7])
    func everyTileRunsOnceBehindItsDependencies(unitCount: Int) {
        for seed in UInt64(0)..<20 {
            var random = SeededGenerator(seed: seed)
            let units = ExecutionUnits(count: unitCount, cpus: [], maxOperationCount: 40)
            var queue: [(UInt32, CheckedProgram)] = []
            for _ in 0..<30 {
                let program = CheckedProgram(random: &random, unitCount: unitCount)
                queue.append((units.submit(program), program))
                if queue.count == ExecutionUnits.queueDepth {
                    let (number, first) = queue.removeFirst()
                    units.wait(for: number)
                    #expect(first.failure == nil, "seed \(seed)")
                }
            }
            for (number, program) in queue {
                units.wait(for: number)
                #expect(program.failure == nil, "seed \(seed)")
            }
            units.stop()
        }
    }

    @Test func aProgramBeginsWhenTheOneBeforeItHasEnded() {
        let units = ExecutionUnits(count: 3, cpus: [], maxOperationCount: 2)
        let value = PlainValue()
        var last: UInt32?
        for index in 0..<2000 {
            let number = units.submit(Successor(of: index, value))
            if let last { units.wait(for: last) }
            last = number
        }
        if let last { units.wait(for: last) }
        #expect(value.value == 2000)
        units.stop()
    }

    @Test func programsWithoutTilesComplete() {
        let units = ExecutionUnits(count: 2, cpus: [], maxOperationCount: 3)
        for _ in 0..<500 {
            units.wait(for: units.submit(EmptyProgram(operationCount: 0)))
            units.wait(for: units.submit(EmptyProgram(operationCount: 3)))
        }
        units.stop()
    }

    /// Each submission finds the units asleep, and none of them may sleep through it: a wake-up
    /// that came only with the sleep's time limit of 100 ms would show.
    @Test func sleepingUnitsAreWokenBySubmissions() {
        let units = ExecutionUnits(count: 2, cpus: [], maxOperationCount: 1)
        let clock = ContinuousClock()
        var waits: [Duration] = []
        for _ in 0..<40 {
            // Long enough for spinning to have given way to sleep.
            usleep(2000)
            waits.append(
                clock.measure { units.wait(for: units.submit(EmptyProgram(operationCount: 1))) })
        }
        waits.sort()
        #expect(waits[20] < .milliseconds(90), "half of the waits were longer than \(waits[20])")
        units.stop()
    }

    @Test func idleUnitsUseHardlyAnyTimeAndStop() throws {
        let units = ExecutionUnits(count: 4, cpus: [], maxOperationCount: 1)
        let clocks = UnitClocks(unitCount: 4)
        units.wait(for: units.submit(clocks))
        usleep(20_000)
        let before = clocks.processorTime()
        usleep(200_000)
        let used = clocks.processorTime() - before
        #expect(used < 0.05, "four idle units used \(used) s of processor time in 0.2 s")
        let clock = ContinuousClock()
        #expect(clock.measure { units.stop() } < .seconds(2))
    }
}

/// Random operations whose plain (not atomic) marks show whether a dependency was respected.
///
/// `@unchecked Sendable`: the order of the operations is all that guards the marks; a thread
/// sanitizer sees a race where the units do not keep it.
private final class CheckedProgram: TiledProgram, @unchecked Sendable {
    private let counts: [Int]
    private let edges: [[Int]]
    private let unitCount: Int
    private let marks: UnsafeMutablePointer<Int32>  // (operation, 16)
    private let fault = Atomic<Int>(-1)

    init(random: inout SeededGenerator, unitCount: Int) {
        self.unitCount = unitCount
        let count = Int.random(in: 1...40, using: &random)
        counts = (0..<count).map { _ in
            // Operations without tiles stand in the middle of chains, too.
            Int.random(in: 0..<3, using: &random) == 0 ? 0 : Int.random(in: 1...16, using: &random)
        }
        edges = (0..<count).map { index in
            guard index > 0 else { return [] }
            var edges = Set([index - 1])
            if Bool.random(using: &random) { edges = [Int.random(in: 0..<index, using: &random)] }
            return edges.sorted()
        }
        marks = .allocate(capacity: 16 * count)
        marks.initialize(repeating: 0, count: 16 * count)
    }

    deinit { marks.deallocate() }

    /// What went wrong; nil when every tile ran once behind its dependencies.
    var failure: String? {
        let faulty = fault.load(ordering: .relaxed)
        if faulty >= 0 { return "operation \(faulty) ran too early or on an unknown unit" }
        for index in counts.indices {
            for tile in 0..<16 where marks[16 * index + tile] != (tile < counts[index] ? 1 : 0) {
                return "tile \(tile) of \(index) ran \(marks[16 * index + tile]) times"
            }
        }
        return nil
    }

    var operationCount: Int { counts.count }
    func tileCount(of operation: Int) -> Int { counts[operation] }
    func dependencies(of operation: Int) -> [Int] { edges[operation] }

    func run(operation: Int, tile: Int, unit: Int) {
        if unit < 0 || unit >= unitCount { fault.store(operation, ordering: .relaxed) }
        // Also what an operation without tiles stands behind.
        var pending = edges[operation]
        while let dependency = pending.popLast() {
            for other in 0..<counts[dependency] where marks[16 * dependency + other] != 1 {
                fault.store(operation, ordering: .relaxed)
            }
            if counts[dependency] == 0 { pending += edges[dependency] }
        }
        marks[16 * operation + tile] += 1
    }
}

private final class PlainValue: @unchecked Sendable {
    var value = 0
}

/// Adds 1 to a plain value if the program before it has; the second of its operations does.
private final class Successor: TiledProgram {
    private let expected: Int
    private let value: PlainValue

    init(of expected: Int, _ value: PlainValue) {
        self.expected = expected
        self.value = value
    }

    var operationCount: Int { 2 }
    func tileCount(of operation: Int) -> Int { operation }
    func dependencies(of operation: Int) -> [Int] { operation == 0 ? [] : [0] }
    func run(operation: Int, tile: Int, unit: Int) {
        if value.value == expected { value.value += 1 }
    }
}

private final class EmptyProgram: TiledProgram {
    let operationCount: Int

    init(operationCount: Int) { self.operationCount = operationCount }

    func tileCount(of operation: Int) -> Int { 0 }
    func dependencies(of operation: Int) -> [Int] { operation == 0 ? [] : [operation - 1] }
    func run(operation: Int, tile: Int, unit: Int) {}
}

/// Gives every unit one tile, which notes the clock of the unit's processor time.
private final class UnitClocks: TiledProgram {
    private let unitCount: Int
    private let clocks: UnsafeMutablePointer<clockid_t>  // (unit)
    private let begunCount = Atomic<Int>(0)

    init(unitCount: Int) {
        self.unitCount = unitCount
        clocks = .allocate(capacity: unitCount)
        clocks.initialize(repeating: 0, count: unitCount)
    }

    deinit { clocks.deallocate() }

    /// Seconds that the units' threads have run, all together; they must not have ended.
    func processorTime() -> Double {
        (0..<unitCount).reduce(0) { sum, unit in
            var time = timespec()
            clock_gettime(clocks[unit], &time)
            return sum + Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
        }
    }

    let operationCount = 1
    func tileCount(of operation: Int) -> Int { unitCount }
    func dependencies(of operation: Int) -> [Int] { [] }
    func run(operation: Int, tile: Int, unit: Int) {
        pthread_getcpuclockid(pthread_self(), clocks + unit)
        // No unit may take two.
        begunCount.wrappingAdd(1, ordering: .releasing)
        while begunCount.load(ordering: .acquiring) < unitCount { sched_yield() }
    }
}
