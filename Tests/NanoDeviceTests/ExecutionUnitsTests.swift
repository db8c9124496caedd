import CNanoKernels
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
            let units = ExecutionUnits(count: unitCount, cpus: [])
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

    /// The test above must be able to fail: the same programs with one dependency kept from the
    /// units, while a slow tile of it holds up what should wait.
    @Test func aDroppedDependencyIsCaught() {
        let units = ExecutionUnits(count: 2, cpus: [])
        for isDropped in [false, true] {
            let program = HeldUp(isDropped: isDropped)
            units.wait(for: units.submit(program))
            #expect(program.cameTooEarly == isDropped)
        }
        units.stop()
    }

    @Test func whatHasBeenAskedForRunsBetweenTheTilesOfTheFirstLane() {
        let units = ExecutionUnits(count: 1, cpus: [])
        let program = CoIssue(productCount: 12, readerCount: 4, linesPerProduct: 8)
        units.wait(for: units.submit(program))
        units.stop()
        // A reader's 16 lines are asked for by two products; then it runs.
        #expect(program.order.prefix(6) == ["p", "p", "r", "p", "p", "r"])
        #expect(program.order.filter { $0 == "r" }.count == 4)
        #expect(program.order.filter { $0 == "p" }.count == 12)
    }

    @Test func aProgramBeginsWhenTheOneBeforeItHasEnded() {
        let units = ExecutionUnits(count: 3, cpus: [])
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
        let units = ExecutionUnits(count: 2, cpus: [])
        for _ in 0..<500 {
            units.wait(for: units.submit(EmptyProgram(operationCount: 0)))
            units.wait(for: units.submit(EmptyProgram(operationCount: 3)))
        }
        units.stop()
    }

    /// Each submission finds the units asleep, and none of them may sleep through it: a wake-up
    /// that came only with the sleep's time limit of 100 ms would show.
    @Test func sleepingUnitsAreWokenBySubmissions() {
        let units = ExecutionUnits(count: 2, cpus: [])
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
        let units = ExecutionUnits(count: 4, cpus: [])
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

/// Random operations in random lanes, whose plain (not atomic) marks show whether a dependency was
/// respected.
///
/// `@unchecked Sendable`: the order of the operations is all that guards the marks; a thread
/// sanitizer sees a race where the units do not keep it.
private final class CheckedProgram: TiledProgram, @unchecked Sendable {
    private let counts: [Int]
    private let edges: [[Int]]
    private let roles: [UnitRole]
    let lanes: [[Int]]
    private let marks: UnsafeMutablePointer<Int32>  // (operation, 16)
    private let fault = Atomic<Int>(-1)

    init(random: inout SeededGenerator, unitCount: Int) {
        let count = Int.random(in: 1...40, using: &random)
        counts = (0..<count).map { _ in
            Int.random(in: 0..<3, using: &random) == 0 ? 0 : Int.random(in: 1...16, using: &random)
        }
        edges = (0..<count).map { index in
            guard index > 0 else { return [] }
            let edgeCount = Int.random(in: 0...3, using: &random)
            return Set((0..<edgeCount).map { _ in Int.random(in: 0..<index, using: &random) })
                .sorted()
        }
        let laneCount = Int.random(in: 1...UnitRole.maxLaneCount, using: &random)
        var lanes = [[Int]](repeating: [], count: laneCount)
        for index in 0..<count {
            lanes[Int.random(in: 0..<laneCount, using: &random)].append(index)
        }
        self.lanes = lanes
        // Some take no part, but never all of them.
        let worker = Int.random(in: 0..<unitCount, using: &random)
        roles = (0..<unitCount).map { unit in
            if unit != worker, Int.random(in: 0..<4, using: &random) == 0 { return .idle }
            return UnitRole(
                lanes: Array(0..<laneCount).shuffled(using: &random),
                askRate: laneCount > 1 ? Int.random(in: 0...1, using: &random) : 0,
                windowByteCount: Int.random(in: 0...500, using: &random))
        }
        marks = .allocate(capacity: 16 * count)
        marks.initialize(repeating: 0, count: 16 * count)
    }

    deinit { marks.deallocate() }

    /// What went wrong; nil when every tile ran once behind its dependencies.
    var failure: String? {
        let faulty = fault.load(ordering: .relaxed)
        if faulty >= 0 { return "operation \(faulty) ran too early or on a wrong unit" }
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
    func role(of unit: Int) -> UnitRole { roles[unit] }

    func addReads(of operation: Int, tile: Int, to window: inout AheadWindow) {
        for _ in 0..<tile % 4 { window.add(marks, byteCount: 100) }
    }

    func run(operation: Int, tile: Int, unit: Int, ahead: Ahead?) {
        // As a product: it asks for some of what is named.
        if let ahead { ahead.pointee.run = min(ahead.pointee.run + 1, ahead.pointee.run_count) }
        if unit < 0 || unit >= roles.count || roles[unit].isIdle {
            fault.store(operation, ordering: .relaxed)
        }
        for dependency in edges[operation] {
            for other in 0..<counts[dependency] where marks[16 * dependency + other] != 1 {
                fault.store(operation, ordering: .relaxed)
            }
        }
        marks[16 * operation + tile] += 1
    }
}

/// Two operations in two lanes; the second one is to wait for the first, which takes until the
/// second one has run, or until it is clear that it waits.
private final class HeldUp: TiledProgram {
    private let isDropped: Bool
    private let hasRun = Atomic<Bool>(false)
    private let hasEnded = Atomic<Bool>(false)
    private let wasEarly = Atomic<Bool>(false)

    init(isDropped: Bool) { self.isDropped = isDropped }

    var cameTooEarly: Bool { wasEarly.load(ordering: .relaxed) }
    let operationCount = 2
    let lanes = [[0], [1]]
    func tileCount(of operation: Int) -> Int { 1 }
    func dependencies(of operation: Int) -> [Int] { operation == 1 && !isDropped ? [0] : [] }
    func role(of unit: Int) -> UnitRole { UnitRole(lanes: unit == 0 ? [0, 1] : [1, 0]) }

    func run(operation: Int, tile: Int, unit: Int, ahead: Ahead?) {
        guard operation == 0 else {
            wasEarly.store(!hasEnded.load(ordering: .acquiring), ordering: .relaxed)
            hasRun.store(true, ordering: .releasing)
            return
        }
        let clock = ContinuousClock()
        // Dropped, it ends as soon as the other has run; else there is nothing to see but time.
        let end = clock.now + .milliseconds(isDropped ? 60_000 : 20)
        while clock.now < end, !hasRun.load(ordering: .acquiring) { sched_yield() }
        hasEnded.store(true, ordering: .releasing)
    }
}

/// Products in one lane, what they ask for in the other; one unit runs them.
private final class CoIssue: TiledProgram, @unchecked Sendable {
    private let counts: [Int]
    private let linesPerProduct: Int
    private let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: 1024)
    private(set) var order: [String] = []

    init(productCount: Int, readerCount: Int, linesPerProduct: Int) {
        counts = [productCount, readerCount]
        self.linesPerProduct = linesPerProduct
    }

    deinit { memory.deallocate() }

    let operationCount = 2
    let lanes = [[0], [1]]
    func tileCount(of operation: Int) -> Int { counts[operation] }
    func dependencies(of operation: Int) -> [Int] { [] }
    func role(of unit: Int) -> UnitRole {
        UnitRole(lanes: [0, 1], askRate: Int(NK_AHEAD_UNIT), windowByteCount: 1)
    }

    func addReads(of operation: Int, tile: Int, to window: inout AheadWindow) {
        window.add(memory, byteCount: 1024)
    }

    func run(operation: Int, tile: Int, unit: Int, ahead: Ahead?) {
        order.append(operation == 0 ? "p" : "r")
        guard operation == 0 else { return }
        // A product of as many rows and inputs as it may ask for lines.
        let x = [Float](repeating: 0, count: linesPerProduct)
        let panel = [Float](repeating: 0, count: 32)
        var out = [Float](repeating: 0, count: 32 * linesPerProduct)
        out.withUnsafeMutableBufferPointer { out in
            panel.withUnsafeBufferPointer { panel in
                let output = nk_output(
                    out: out.baseAddress, stride: 32, bias: nil, epilogue: NK_STORE, ahead: ahead)
                Kernels.best.functions.pointee.linear_f32(
                    x, 1, Int32(linesPerProduct),
                    nk_matrix_f32(panels: panel.baseAddress, inputs: 1), 0, 1, output)
            }
        }
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
    func run(operation: Int, tile: Int, unit: Int, ahead: Ahead?) {
        if value.value == expected { value.value += 1 }
    }
}

private final class EmptyProgram: TiledProgram {
    let operationCount: Int

    init(operationCount: Int) { self.operationCount = operationCount }

    func tileCount(of operation: Int) -> Int { 0 }
    func dependencies(of operation: Int) -> [Int] { operation == 0 ? [] : [operation - 1] }
    func run(operation: Int, tile: Int, unit: Int, ahead: Ahead?) {}
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
    func run(operation: Int, tile: Int, unit: Int, ahead: Ahead?) {
        pthread_getcpuclockid(pthread_self(), clocks + unit)
        // No unit may take two.
        begunCount.wrappingAdd(1, ordering: .releasing)
        while begunCount.load(ordering: .acquiring) < unitCount { sched_yield() }
    }
}
