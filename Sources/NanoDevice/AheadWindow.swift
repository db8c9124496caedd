import CNanoKernels

/// The tiles that a unit has taken of an operation bound by memory, and what they will read: matrix
/// products ask for it, tile after tile, before the unit runs them.
///
///     runs   [ first tile's ....... ][ second tile's ... ]
///            asked for ) to be asked for                 )
package struct AheadWindow: ~Copyable {
    package struct Item {
        let operation: Int
        let tile: Int
        fileprivate var runCount = 0
        fileprivate var byteCount = 0
    }

    private static let runCapacity = 256
    private static let itemCapacity = 8

    private let runs: UnsafeMutablePointer<nk_run>
    private let items: UnsafeMutablePointer<Item>
    private var itemCount = 0
    private var byteCount = 0
    /// Bytes that may be asked for and not yet read; what a tile reads beyond is not asked for.
    var limit = 0
    /// What the products advance.
    let ahead: Ahead

    package init() {
        runs = .allocate(capacity: Self.runCapacity)
        items = .allocate(capacity: Self.itemCapacity)
        ahead = .allocate(capacity: 1)
        ahead.initialize(
            to: nk_ahead(
                runs: UnsafePointer(runs), run_count: 0, run: 0, offset: 0, rate: 0, credit: 0))
    }

    deinit {
        runs.deallocate()
        items.deallocate()
        ahead.deallocate()
    }

    package var isEmpty: Bool { itemCount == 0 }

    /// Whether another tile may be taken.
    var hasRoom: Bool {
        itemCount < Self.itemCapacity && (itemCount == 0 || byteCount < limit)
            && Int(ahead.pointee.run_count) < Self.runCapacity
    }

    mutating func append(operation: Int, tile: Int) {
        precondition(itemCount < Self.itemCapacity, "A full window takes no tile.")
        (items + itemCount).initialize(to: Item(operation: operation, tile: tile))
        itemCount += 1
    }

    /// Adds what the tile appended last will read.
    package mutating func add(_ start: UnsafeRawPointer, byteCount count: Int) {
        let index = Int(ahead.pointee.run_count)
        guard index < Self.runCapacity, byteCount < limit else { return }
        (runs + index).initialize(
            to: nk_run(start: start.assumingMemoryBound(to: CChar.self), bytes: count))
        ahead.pointee.run_count += 1
        items[itemCount - 1].runCount += 1
        items[itemCount - 1].byteCount += count
        byteCount += count
    }

    /// Whether all that the first tile reads has been asked for.
    var firstIsAskedFor: Bool { !isEmpty && Int(ahead.pointee.run) >= items[0].runCount }

    /// Takes the first tile out.
    mutating func removeFirst() -> Item {
        precondition(itemCount > 0, "An empty window has no first tile.")
        let first = items[0]
        itemCount -= 1
        items.update(from: items + 1, count: itemCount)
        let left = Int(ahead.pointee.run_count) - first.runCount
        runs.update(from: runs + first.runCount, count: left)
        if Int(ahead.pointee.run) < first.runCount { ahead.pointee.offset = 0 }
        ahead.pointee.run = Int32(max(0, Int(ahead.pointee.run) - first.runCount))
        ahead.pointee.run_count = Int32(left)
        byteCount -= first.byteCount
        return first
    }
}
