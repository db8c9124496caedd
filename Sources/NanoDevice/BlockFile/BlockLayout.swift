/// What stands where in a block file, and how much memory its I/O thread works with.
///
///     | superblock, a page | slot 0: header, payload, padding | slot 1 | ...
///
/// Everything begins at a page, as reading and writing past the page cache asks for.
package struct BlockLayout: Sendable, Hashable {
    package static let pageByteCount = 4096
    package static let headerByteCount = 128
    /// Transfers that are in flight at most.
    package static let transferLimit = 32
    /// Runs of neighbouring records: one is filled while the other is written.
    static let runCount = 2
    private static let runByteLimit = 8 << 20
    private static let stagingByteLimit = 32 << 20
    private static let payloadByteLimit = 1 << 30

    package let payloadByteCount: Int
    /// Bytes of a slot: the header, the payload and padding up to a whole page.
    package let slotByteCount: Int

    package init(payloadByteCount: Int) {
        precondition(
            (1...Self.payloadByteLimit).contains(payloadByteCount),
            "A record holds a byte at least, and a GiB at most.")
        self.payloadByteCount = payloadByteCount
        slotByteCount = Self.pageRounded(Self.headerByteCount + payloadByteCount)
    }

    private static func pageRounded(_ count: Int) -> Int {
        (count + pageByteCount - 1) / pageByteCount * pageByteCount
    }

    /// The least that a file may take up, bytes.
    package var leastFileByteCount: Int { fileByteCount(slots: 1) }

    /// Slots that fit into a file of `fileByteCount` bytes.
    package func slotCount(fileByteCount: Int) -> Int {
        max(0, fileByteCount - Self.pageByteCount) / slotByteCount
    }

    func fileByteCount(slots: Int) -> Int { offset(ofSlot: slots) }

    /// Where a slot begins in the file, bytes.
    package func offset(ofSlot slot: Int) -> Int { Self.pageByteCount + slot * slotByteCount }

    // MARK: - Staging

    /// Records that one write operation takes at most.
    package var runCapacity: Int {
        max(1, min(Self.runByteLimit / slotByteCount, stagingRecordLimit / 4))
    }

    /// Records that are read at the same time at most; writes leave them their memory.
    package var readBufferCount: Int {
        min(
            Self.transferLimit - Self.runCount,
            stagingRecordLimit - Self.runCount * runCapacity)
    }

    /// Bytes between the cache and the file: 32 MiB or four records at most, whichever is more.
    package var stagingByteCount: Int {
        (readBufferCount + Self.runCount * runCapacity) * slotByteCount
    }

    private var stagingRecordLimit: Int { max(4, Self.stagingByteLimit / slotByteCount) }
}
