import Glibc
import NanoDevice
import Testing

@Suite struct UnitTimesTests {
    @Test func operationsAreChargedWithWhatTheirTilesTook() {
        let units = ExecutionUnits(count: 1, cpus: [], maxOperationCount: 5)
        let program = BusyProgram(milliseconds: [2, 0, 6])
        for _ in 0..<3 { units.wait(for: units.submit(program)) }
        // A unit adds an operation's time before it announces the program's end.
        let totals = units.times.totals()
        #expect(totals.count == 5)
        #expect(totals[0].running >= 6_000_000)
        #expect(totals[2].running >= 18_000_000)
        #expect(totals[1].running < totals[0].running)
        #expect(totals[3].running == 0 && totals[4].running == 0)
        units.stop()
    }

    @Test func aUnitThatWaitsForAnotherIsChargedWithWaiting() {
        let units = ExecutionUnits(count: 2, cpus: [], maxOperationCount: 2)
        // One tile: whoever does not have it waits before the second operation.
        units.wait(for: units.submit(BusyProgram(milliseconds: [30, 0])))
        units.stop()
        let totals = units.times.totals()
        #expect(totals[0].running >= 30_000_000)
        #expect(totals[1].waiting >= 1_000_000)
    }

    /// More edges than operations, so that a slot's room for them must grow.
    @Test func programsMayHaveManyDependencies() {
        let units = ExecutionUnits(count: 2, cpus: [], maxOperationCount: 60)
        for _ in 0..<20 {
            let program = TriangularProgram(operationCount: 60)
            units.wait(for: units.submit(program))
            #expect(program.isOrdered)
        }
        units.stop()
    }
}

/// One tile an operation, which takes a time.
private final class BusyProgram: TiledProgram {
    private let milliseconds: [Int]

    init(milliseconds: [Int]) { self.milliseconds = milliseconds }

    var operationCount: Int { milliseconds.count }
    func tileCount(of operation: Int) -> Int { 1 }
    func dependencies(of operation: Int) -> [Int] { operation == 0 ? [] : [operation - 1] }

    func run(operation: Int, tile: Int, unit: Int) {
        let clock = ContinuousClock()
        let end = clock.now + .milliseconds(milliseconds[operation])
        while clock.now < end {}
    }
}

/// Every operation stands behind all before it; plain marks show whether it did.
private final class TriangularProgram: TiledProgram, @unchecked Sendable {
    let operationCount: Int
    private let marks: UnsafeMutablePointer<Int>

    init(operationCount: Int) {
        self.operationCount = operationCount
        marks = .allocate(capacity: operationCount)
        marks.initialize(repeating: -1, count: operationCount)
    }

    deinit { marks.deallocate() }

    var isOrdered: Bool { (0..<operationCount).allSatisfy { marks[$0] == $0 } }

    func tileCount(of operation: Int) -> Int { 1 }
    func dependencies(of operation: Int) -> [Int] { Array(0..<operation) }

    func run(operation: Int, tile: Int, unit: Int) {
        marks[operation] = (0..<operation).filter { marks[$0] >= 0 }.count
    }
}
