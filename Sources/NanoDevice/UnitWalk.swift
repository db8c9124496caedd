import CNanoKernels
import CNanoSystem
import Glibc

/// One unit's way through programs.
///
/// In each of its lanes it stands at the first operation that has tiles left, and takes one as soon
/// as the operation's dependencies have ended. No lock is taken and nothing is allocated.
struct UnitWalk: ~Copyable {
    private let unit: Int
    private let cursors: UnsafeMutablePointer<Cursor>  // (lane)
    private var window = AheadWindow()
    /// Tiles of one operation that have been run and that the other units have not been told of: they
    /// are before this one turns to another operation or waits.
    private var done = (operation: 0, tileCount: 0)
    private var clock: UnitClock

    private struct Cursor {
        var position = 0
        /// Whether the dependencies of the operation there are known to have ended.
        var isReady = false
    }

    init(unit: Int, times: UnitTimes, timeline: Timeline) {
        self.unit = unit
        cursors = .allocate(capacity: UnitRole.maxLaneCount)
        clock = UnitClock(unit: unit, times: times, timeline: timeline)
    }

    deinit { cursors.deallocate() }

    /// Runs tiles until all of the program's have been run, by whichever unit.
    mutating func walk(_ slot: ProgramSlot) {
        guard let program = slot.program else {
            preconditionFailure("A unit walked an empty slot.")
        }
        let role = slot.roles[unit]
        cursors.initialize(repeating: Cursor(), count: slot.laneEnds.count)
        window.ahead.pointee.rate = Int64(role.askRate)
        window.ahead.pointee.credit = 0
        window.limit = role.windowByteCount
        clock.begin(program: slot.number)
        var patience = Self.patience
        while true {
            if runNext(slot, program, role) {
                patience = Self.patience
            } else if isThrough(slot, role) {
                break
            } else {
                Self.pause(&patience)
            }
        }
        for operation in 0..<slot.operationCount {
            while !slot.hasEnded(operation) { Self.pause(&patience) }
        }
        clock.end(slot)
    }

    /// Runs the next tile of the first lane that has one ready; false: there is none now.
    private mutating func runNext(
        _ slot: ProgramSlot, _ program: any TiledProgram, _ role: UnitRole
    ) -> Bool {
        if let (operation, tile) = claim(in: role.lanes[0], slot) {
            if role.askRate > 0 { fillWindow(slot, program, role) }
            run(operation, tile, slot, program, ahead: window.isEmpty ? nil : window.ahead)
            while window.firstIsAskedFor { runAskedFor(slot, program) }
            return true
        }
        if !window.isEmpty {
            runAskedFor(slot, program)
            return true
        }
        for lane in role.lanes.dropFirst() {
            guard let (operation, tile) = claim(in: lane, slot) else { continue }
            run(operation, tile, slot, program, ahead: nil)
            return true
        }
        tell(slot)
        clock.wait(slot)
        return false
    }

    private mutating func claim(in lane: Int, _ slot: ProgramSlot) -> (operation: Int, tile: Int)? {
        while let operation = slot.operation(lane: lane, position: cursors[lane].position) {
            if !cursors[lane].isReady {
                tell(slot)
                guard slot.isReady(operation) else { return nil }
                cursors[lane].isReady = true
            }
            if let tile = slot.claim(operation, unit: unit) { return (operation, tile) }
            cursors[lane] = Cursor(position: cursors[lane].position + 1)
        }
        return nil
    }

    private mutating func fillWindow(
        _ slot: ProgramSlot, _ program: any TiledProgram, _ role: UnitRole
    ) {
        while window.hasRoom,
            let (operation, tile) = claim(in: role.lanes[1], slot)
        {
            window.append(operation: operation, tile: tile)
            program.addReads(of: operation, tile: tile, to: &window)
        }
    }

    private mutating func runAskedFor(_ slot: ProgramSlot, _ program: any TiledProgram) {
        let item = window.removeFirst()
        run(item.operation, item.tile, slot, program, ahead: nil)
    }

    private mutating func run(
        _ operation: Int, _ tile: Int, _ slot: ProgramSlot, _ program: any TiledProgram,
        ahead: Ahead?
    ) {
        clock.work(on: operation, slot)
        if operation != done.operation {
            tell(slot)
            done.operation = operation
        }
        program.run(operation: operation, tile: tile, unit: unit, ahead: ahead)
        done.tileCount += 1
    }

    private mutating func tell(_ slot: ProgramSlot) {
        guard done.tileCount > 0 else { return }
        slot.finish(done.tileCount, of: done.operation)
        done.tileCount = 0
    }

    private func isThrough(_ slot: ProgramSlot, _ role: UnitRole) -> Bool {
        role.lanes.allSatisfy {
            slot.operation(lane: $0, position: cursors[$0].position) == nil
        }
    }

    /// Pauses before a unit offers its core to other threads.
    private static let patience = 200

    /// Waits a little: another unit has tiles in hand, and on few cores it may need this very core.
    private static func pause(_ patience: inout Int) {
        if patience > 0 {
            patience -= 1
            ns_pause()
        } else {
            sched_yield()
        }
    }
}
