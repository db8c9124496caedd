import Glibc

/// One run of zeroed, page-backed memory, cut into parts at start and never grown.
///
/// Large arenas ask for huge pages. Memory returns to the system when the arena goes.
///
/// `@unchecked Sendable`: the arena hands out addresses and is not written after its parts are cut;
/// who may touch which part when is the rule of the type that owns the part.
package final class MemoryArena: @unchecked Sendable {
    package let name: String
    package let byteCount: Int
    private let base: UnsafeMutableRawPointer
    private var usedByteCount = 0

    /// Bytes between parts' beginnings: a cache line.
    package static let alignment = 64

    /// Maps the memory; nil when the system has no room.
    package init?(name: String, byteCount: Int) {
        precondition(byteCount >= 0, "An arena cannot have a negative size.")
        let pageRounded = max(4096, (byteCount + 4095) & ~4095)
        guard
            let base = mmap(
                nil, pageRounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            base != MAP_FAILED
        else { return nil }
        if pageRounded >= 2 << 20 { madvise(base, pageRounded, Int32(MADV_HUGEPAGE)) }
        self.name = name
        self.byteCount = pageRounded
        self.base = base
    }

    deinit { munmap(base, byteCount) }

    /// Asks the system for the pages of some of an arena's memory now, and not when they are first
    /// written: the system clears them meanwhile, and a virtual machine's host may have to find them.
    ///
    /// Where the system cannot (before Linux 5.14), pages come when they are written, as ever.
    static func makeResident(_ memory: UnsafeMutableRawBufferPointer) {
        guard let start = memory.baseAddress else { return }
        let first = UnsafeMutableRawPointer(bitPattern: UInt(bitPattern: start) & ~4095) ?? start
        madvise(first, memory.count + (start - first), MADV_POPULATE_WRITE)
    }

    /// The bytes that a part of `count` elements takes up, its alignment included.
    package static func byteCount<Element>(_ type: Element.Type, _ count: Int) -> Int {
        (count * MemoryLayout<Element>.stride + alignment - 1) & ~(alignment - 1)
    }

    /// Cuts the next part.
    ///
    /// The sum of the parts was computed beforehand, so running out is a bug.
    package func cut<Element>(
        _ type: Element.Type, count: Int
    ) -> UnsafeMutableBufferPointer<Element> {
        let size = Self.byteCount(type, count)
        precondition(
            usedByteCount + size <= byteCount, "Arena \(name) is too small for its parts.")
        let start = (base + usedByteCount).bindMemory(to: type, capacity: count)
        usedByteCount += size
        return UnsafeMutableBufferPointer(start: start, count: count)
    }
}
