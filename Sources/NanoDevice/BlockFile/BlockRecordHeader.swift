/// What stands before a record's payload.
///
///     byte 0      8        12  16    24    56     64             72                80    120
///     | magic | version | 0 | slot | name | order | payload bytes | payload's check | 0 | check |
///
/// The last is the checksum of all that stands before it, so that a scan can trust a header without
/// reading the payload; through the payload's checksum in it, it binds the two together.
struct BlockRecordHeader: Hashable {
    let slot: Int
    let name: BlockFingerprint
    let order: UInt64
    let payloadByteCount: Int
    let payloadChecksum: UInt64

    private static let magic: UInt64 = 0x4B43_4C42_4F4E_414E  // "NANOBLCK"
    private static let version: UInt32 = 1
    private static let checksumOffset = BlockLayout.headerByteCount - 8

    init(
        slot: Int, name: BlockFingerprint, order: UInt64, payloadByteCount: Int,
        payloadChecksum: UInt64
    ) {
        self.slot = slot
        self.name = name
        self.order = order
        self.payloadByteCount = payloadByteCount
        self.payloadChecksum = payloadChecksum
    }

    /// Writes the header to the beginning of a record.
    func store(in record: UnsafeMutableRawBufferPointer) {
        let header = UnsafeMutableRawBufferPointer(
            rebasing: record[..<BlockLayout.headerByteCount])
        header.initializeMemory(as: UInt8.self, repeating: 0)
        header.store(Self.magic, at: 0)
        header.store(Self.version, at: 8)
        header.store(UInt64(slot), at: 16)
        header.store(name, at: 24)
        header.store(order, at: 56)
        header.store(UInt64(payloadByteCount), at: 64)
        header.store(payloadChecksum, at: 72)
        header.store(Self.checksum(UnsafeRawBufferPointer(header)), at: Self.checksumOffset)
    }

    /// Reads the header at the beginning of a record.
    init(_ record: UnsafeRawBufferPointer) throws(BlockFileFault) {
        guard record.load(UInt64.self, at: 0) == Self.magic else { throw .wrongRecord }
        let checksum = record.load(UInt64.self, at: Self.checksumOffset)
        guard checksum == Self.checksum(record) else { throw .wrongChecksum }
        guard record.load(UInt32.self, at: 8) == Self.version,
            let slot = Int(exactly: record.load(UInt64.self, at: 16)),
            let payloadByteCount = Int(exactly: record.load(UInt64.self, at: 64))
        else { throw .wrongRecord }
        self.slot = slot
        name = record.loadFingerprint(at: 24)
        order = record.load(UInt64.self, at: 56)
        self.payloadByteCount = payloadByteCount
        payloadChecksum = record.load(UInt64.self, at: 72)
    }

    private static func checksum(_ record: UnsafeRawBufferPointer) -> UInt64 {
        BlockChecksum.of(UnsafeRawBufferPointer(rebasing: record[..<checksumOffset]))
    }
}
