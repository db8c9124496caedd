import Synchronization

/// A submitted program with its counters, as plain memory: what units read while they work.
final class ProgramSlot {
    private(set) var program: (any TiledProgram)?
    private(set) var number: UInt32 = 0
    private(set) var operationCount = 0
    private let unitCount: Int
    private var capacity = 0
    private var operations: UnsafeMutablePointer<OperationEntry>
    private var dependencies = GrowingBuffer<Int>()
    private var laneOperations = GrowingBuffer<Int>()
    private(set) var laneEnds: [Int] = []
    private(set) var roles: [UnitRole] = []
    private var claimed: UnsafeMutablePointer<Atomic<Int>>  // (way, operation)
    private var finished: UnsafeMutablePointer<Atomic<Int>>
    private let isAnnounced = Atomic<Bool>(false)
    /// Units that have left the program; all of them before the slot is filled again.
    let departed: Atomic<Int>

    private struct OperationEntry {
        var tileCount: Int
        var category: Int
        /// Its dependencies end here, and begin where those of the one before it end.
        var dependencyEnd: Int
    }

    init(unitCount: Int) {
        self.unitCount = unitCount
        operations = .allocate(capacity: 0)
        claimed = .allocate(capacity: 0)
        finished = .allocate(capacity: 0)
        departed = Atomic(unitCount)
    }

    deinit { deallocate() }

    private func deallocate() {
        operations.deallocate()
        claimed.deinitialize(count: wayStride * unitCount).deallocate()
        finished.deinitialize(count: capacity).deallocate()
    }

    // MARK: - The submitter's side

    func fill(with program: any TiledProgram, number: UInt32) {
        self.program = program
        self.number = number
        operationCount = program.operationCount
        grow(to: operationCount)
        dependencies.removeAll()
        for index in 0..<operationCount {
            for dependency in program.dependencies(of: index) {
                precondition(
                    dependency < index, "An operation must stand behind its dependencies.")
                dependencies.append(dependency)
            }
            (operations + index).initialize(
                to: OperationEntry(
                    tileCount: program.tileCount(of: index), category: program.category(of: index),
                    dependencyEnd: dependencies.count))
            for way in 0..<unitCount {
                claimed[way * wayStride + index].store(0, ordering: .relaxed)
            }
            finished[index].store(0, ordering: .relaxed)
        }
        fillLanes(program)
        isAnnounced.store(false, ordering: .relaxed)
        departed.store(0, ordering: .relaxed)
    }

    private func fillLanes(_ program: any TiledProgram) {
        let lanes = program.lanes
        precondition(
            lanes.count <= UnitRole.maxLaneCount
                && lanes.reduce(0) { $0 + $1.count } == operationCount,
            "Every operation must stand in one lane.")
        laneOperations.removeAll()
        laneEnds.removeAll(keepingCapacity: true)
        for lane in lanes {
            for operation in lane { laneOperations.append(operation) }
            laneEnds.append(laneOperations.count)
        }
        roles.removeAll(keepingCapacity: true)
        for unit in 0..<unitCount { roles.append(program.role(of: unit)) }
        precondition(
            lanes.indices.allSatisfy { lane in roles.contains { $0.lanes.contains(lane) } },
            "Every lane must be among those of some unit.")
    }

    private func grow(to count: Int) {
        guard count > capacity else { return }
        deallocate()
        capacity = max(count, 2 * capacity)
        operations = .allocate(capacity: capacity)
        claimed = .allocate(capacity: wayStride * unitCount)
        finished = .allocate(capacity: capacity)
        for index in 0..<wayStride * unitCount { (claimed + index).initialize(to: Atomic(0)) }
        for index in 0..<capacity { (finished + index).initialize(to: Atomic(0)) }
    }

    /// From one way's counters to the next one's: their units take from their own at every tile, so no
    /// cache line, nor one of its pair, holds counters of two.
    private var wayStride: Int {
        capacity == 0 ? 0 : capacity + 256 / MemoryLayout<Atomic<Int>>.stride
    }

    // MARK: - The units' side

    func category(of operation: Int) -> Int { operations[operation].category }

    /// The operation at a place of a lane; nil past its end.
    func operation(lane: Int, position: Int) -> Int? {
        let place = (lane == 0 ? 0 : laneEnds[lane - 1]) + position
        return place < laneEnds[lane] ? laneOperations[place] : nil
    }

    /// Whether all that the operation depends on has ended.
    func isReady(_ operation: Int) -> Bool {
        let first = operation == 0 ? 0 : operations[operation - 1].dependencyEnd
        for place in first..<operations[operation].dependencyEnd
        where !hasEnded(dependencies[place]) { return false }
        return true
    }

    func hasEnded(_ operation: Int) -> Bool {
        finished[operation].load(ordering: .acquiring) >= operations[operation].tileCount
    }

    /// Takes a tile for the unit: of its own way first, then of what is left of the others'.
    ///
    ///     7 tiles, 2 ways:  [ 0 1 2 )[ 3 4 5 6 )
    func claim(_ operation: Int, unit: Int) -> Int? {
        let count = operations[operation].tileCount
        for offset in 0..<unitCount {
            let way = (unit + offset) % unitCount
            let tiles = count * way / unitCount..<count * (way + 1) / unitCount
            let next = claimed + way * wayStride + operation
            // Looked at first: on many units most of the others' ways are done.
            guard next.pointee.load(ordering: .relaxed) < tiles.count else { continue }
            let tile = next.pointee.wrappingAdd(1, ordering: .relaxed).oldValue
            if tile < tiles.count { return tiles.lowerBound + tile }
        }
        return nil
    }

    func finish(_ tileCount: Int, of operation: Int) {
        finished[operation].wrappingAdd(tileCount, ordering: .releasing)
    }

    /// True for the first unit that asks.
    func announceOnce() -> Bool {
        !isAnnounced.exchange(true, ordering: .acquiringAndReleasing)
    }
}

/// An array without reference counts or checks; programs of one kind need the same room, so it grows
/// a few times at most.
private struct GrowingBuffer<Element: BitwiseCopyable>: ~Copyable {
    private var storage = UnsafeMutableBufferPointer<Element>.allocate(capacity: 64)
    private(set) var count = 0

    deinit { storage.deallocate() }

    subscript(index: Int) -> Element { storage[index] }

    mutating func removeAll() { count = 0 }

    mutating func append(_ element: Element) {
        if count == storage.count {
            let grown = UnsafeMutableBufferPointer<Element>.allocate(capacity: 2 * count)
            _ = grown.update(fromContentsOf: storage)
            storage.deallocate()
            storage = grown
        }
        storage[count] = element
        count += 1
    }
}
