import Glibc
import NanoDevice
import Testing

@Suite struct UnitTimesTests {
    @Test func operationsAreChargedWithWhatTheirTilesTook() {
        let units = ExecutionUnits(count: 1, cpus: [], categoryCount: 5)
        let program = BusyProgram(milliseconds: [2, 0, 6])
        for _ in 0..<3 { units.wait(for: units.submit(program)) }
        // A unit adds an operation's time before it announces the program's end.
        let running = units.times.running()
        #expect(running.count == 5)
        #expect(running[0] >= 6_000_000)
        #expect(running[2] >= 18_000_000)
        #expect(running[1] < running[0])
        #expect(running[3] == 0 && running[4] == 0)
        units.stop()
    }

    @Test func aUnitThatWaitsForAnotherIsChargedWithWaiting() {
        let units = ExecutionUnits(count: 2, cpus: [], categoryCount: 2)
        // One tile: whoever does not have it waits before the second operation, unless a busy system
        // puts it aside until the tile has been run.
        var (count, waited): (UInt64, UInt64) = (0, 0)
        while waited < 1_000_000, count < 50 {
            let before = units.times.waiting()
            units.wait(for: units.submit(BusyProgram(milliseconds: [30, 0])))
            units.waitUntilIdle()
            waited = units.times.waiting() - before
            count += 1
        }
        units.stop()
        #expect(units.times.running()[0] >= count * 30_000_000)
        #expect(waited >= 1_000_000)
    }

    @Test func theTimelineHoldsWhatEachUnitHasRun() {
        let units = ExecutionUnits(count: 2, cpus: [], categoryCount: 3)
        let first = monotonicNanoseconds()
        let numbers = (0..<4).map { _ -> UInt32 in
            let number = units.submit(BusyProgram(milliseconds: [1, 2, 1]))
            units.wait(for: number)
            return number
        }
        units.stop()
        let events = (0..<2).flatMap { units.timeline.events(unit: $0) }
        for number in numbers {
            let mine = events.filter { $0.program == number }
            #expect(mine.map(\.operation).sorted() == [0, 1, 2])
            #expect(mine.allSatisfy { $0.tileCount == 1 && $0.end > $0.start })
        }
        for unit in 0..<2 {
            let ends = units.timeline.events(unit: unit).flatMap { [$0.start, $0.end] }
            #expect(ends == ends.sorted() && ends.allSatisfy { $0 >= first })
        }
    }

    @Test func theTimelineKeepsTheLatestEvents() {
        let timeline = Timeline(unitCount: 1, capacity: 8)
        for index in UInt64(0)..<21 {
            timeline.record(
                Timeline.Event(
                    start: index, end: index + 1, program: 7, operation: 3, tileCount: 2), unit: 0)
        }
        let events = timeline.events(unit: 0)
        // The oldest one may be written over while it is read.
        #expect(events.map(\.start) == Array(14..<21))
        #expect(events.allSatisfy { $0.program == 7 && $0.operation == 3 && $0.tileCount == 2 })
    }

    /// More edges than operations, so that a slot's room for them must grow.
    @Test func programsMayHaveManyDependencies() {
        let units = ExecutionUnits(count: 2, cpus: [])
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
    func category(of operation: Int) -> Int { operation }

    func run(operation: Int, tile: Int, unit: Int, ahead: Ahead?) {
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

    func run(operation: Int, tile: Int, unit: Int, ahead: Ahead?) {
        marks[operation] = (0..<operation).filter { marks[$0] >= 0 }.count
    }
}
