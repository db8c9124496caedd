/// The file's first page: what its records are for, and how they are cut.
///
///     byte 0      8        12  16     48              56      64
///     | magic | version | 0 | seed | payload bytes | slots | check | 0 up to the page's end
struct BlockSuperblock: Hashable {
    let seed: BlockFingerprint
    let payloadByteCount: Int
    let slotCount: Int

    private static let magic: UInt64 = 0x564B_4C46_4F4E_414E  // "NANOFLKV"
    private static let version: UInt32 = 1
    private static let checksumOffset = 64

    func store(in page: UnsafeMutableRawBufferPointer) {
        page.initializeMemory(as: UInt8.self, repeating: 0)
        page.store(Self.magic, at: 0)
        page.store(Self.version, at: 8)
        page.store(seed, at: 16)
        page.store(UInt64(payloadByteCount), at: 48)
        page.store(UInt64(slotCount), at: 56)
        page.store(Self.checksum(UnsafeRawBufferPointer(page)), at: Self.checksumOffset)
    }

    /// Why a file with this first page has to be begun anew; nil when its records can be used.
    func difference(from page: UnsafeRawBufferPointer) -> BlockFile.Replacement? {
        guard page.load(UInt64.self, at: 0) == Self.magic,
            page.load(UInt64.self, at: Self.checksumOffset) == Self.checksum(page)
        else { return .damaged }
        guard page.load(UInt32.self, at: 8) == Self.version else { return .otherVersion }
        guard page.loadFingerprint(at: 16) == seed else { return .otherSeed }
        guard page.load(UInt64.self, at: 48) == UInt64(payloadByteCount) else {
            return .otherRecordSize
        }
        return nil
    }

    /// The checksum of what stands before it.
    private static func checksum(_ page: UnsafeRawBufferPointer) -> UInt64 {
        BlockChecksum.of(UnsafeRawBufferPointer(rebasing: page[..<checksumOffset]))
    }
}
