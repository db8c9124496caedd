package import CNanoKernels

/// What a matrix product asks memory for on behalf of other operations.
package typealias Ahead = UnsafeMutablePointer<nk_ahead>

/// Work that execution units share: operations, each cut into independent tiles, and the order in
/// which the units take them.
///
/// All but `run` and `addReads` is asked once, when the program is submitted. `run` is called from
/// the units' threads, every tile exactly once, after all tiles of the operation's dependencies.
package protocol TiledProgram: AnyObject {
    var operationCount: Int { get }
    /// An operation without tiles has ended from the beginning.
    func tileCount(of operation: Int) -> Int
    /// Operations that must have ended before, each of a smaller number.
    func dependencies(of operation: Int) -> [Int]
    /// What the units' times are summed by.
    func category(of operation: Int) -> Int
    /// Every operation once, in one of at most ``UnitRole/maxLaneCount`` lanes; together with the
    /// dependencies the orders of the lanes make no cycle.
    var lanes: [[Int]] { get }
    /// How a unit goes through the lanes; every lane is among those of some unit.
    func role(of unit: Int) -> UnitRole

    /// Computes a tile. A tile bound by arithmetic asks for what `ahead` names meanwhile.
    func run(operation: Int, tile: Int, unit: Int, ahead: Ahead?)
    /// Names the memory that a tile reads to a unit that will run it soon.
    func addReads(of operation: Int, tile: Int, to window: inout AheadWindow)
}

extension TiledProgram {
    package func category(of operation: Int) -> Int { 0 }
    package var lanes: [[Int]] { [Array(0..<operationCount)] }
    package func role(of unit: Int) -> UnitRole { UnitRole(lanes: [0]) }
    package func addReads(of operation: Int, tile: Int, to window: inout AheadWindow) {}
}

/// How an execution unit goes through the lanes of a program.
///
/// A unit takes tiles of the first of its lanes; where nothing is ready in it, of the next. That is
/// a preference, not ownership: units with other preferences share the lanes.
package struct UnitRole: Sendable, Hashable {
    package static let maxLaneCount = 4

    /// By preference.
    package let lanes: [Int]
    /// Cache lines of the second lane's operations that the products of the first lane ask for.
    ///
    /// For each `NK_AHEAD_UNIT` of rows x inputs of a panel; what has been asked for in whole is
    /// run between two tiles. 0: the second lane runs only where the first has nothing ready.
    package let askRate: Int
    /// Bytes asked for and not yet read, at most, but for a run of the last tile.
    package let windowByteCount: Int

    /// Takes no part in the program, and sleeps until it has ended.
    package static let idle = UnitRole()

    package var isIdle: Bool { lanes.isEmpty }

    private init() {
        lanes = []
        (askRate, windowByteCount) = (0, 0)
    }

    package init(lanes: [Int], askRate: Int = 0, windowByteCount: Int = 0) {
        precondition(
            !lanes.isEmpty && lanes.count <= Self.maxLaneCount,
            "A unit goes through 1 to \(Self.maxLaneCount) lanes.")
        precondition(askRate == 0 || lanes.count > 1, "Asking ahead needs a second lane.")
        self.lanes = lanes
        self.askRate = askRate
        self.windowByteCount = windowByteCount
    }
}
