/// The memory that records pass through between the cache and the file.
///
///     | read buffer 0 | read buffer 1 | ... | run 0: record 0, record 1, ... | run 1: ... |
struct BlockStaging: Sendable {
    private let layout: BlockLayout
    private let arena: MemoryArena
    private nonisolated(unsafe) let base: UnsafeMutableRawPointer

    /// Maps the memory; nil when the system has no room.
    init?(layout: BlockLayout) {
        let count = layout.stagingByteCount
        guard let arena = MemoryArena(name: "block file", byteCount: count),
            let base = arena.cut(UInt8.self, count: count).baseAddress
        else { return nil }
        self.layout = layout
        self.arena = arena
        self.base = UnsafeMutableRawPointer(base)
    }

    func readBuffer(_ index: Int) -> UnsafeMutableRawBufferPointer {
        records(from: index, count: 1)
    }

    /// The first `count` records of a run.
    func run(_ run: Int, count: Int) -> UnsafeMutableRawBufferPointer {
        records(from: layout.readBufferCount + run * layout.runCapacity, count: count)
    }

    func record(_ index: Int, ofRun run: Int) -> UnsafeMutableRawBufferPointer {
        records(from: layout.readBufferCount + run * layout.runCapacity + index, count: 1)
    }

    private func records(from first: Int, count: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(
            start: base + first * layout.slotByteCount, count: count * layout.slotByteCount)
    }
}
