/// 32 bytes that stand for something by its digest: a block's name, or a model, its precision and
/// the kernels.
package struct BlockFingerprint: Sendable, Hashable {
    package let words: (UInt64, UInt64, UInt64, UInt64)

    package init(_ words: (UInt64, UInt64, UInt64, UInt64)) { self.words = words }

    package static func == (a: BlockFingerprint, b: BlockFingerprint) -> Bool {
        a.words == b.words
    }

    package func hash(into hasher: inout Hasher) {
        // A digest's bits are as good as any hash's.
        hasher.combine(words.0)
    }
}

/// The file's integers are little endian.
extension UnsafeMutableRawBufferPointer {
    func store(_ value: some FixedWidthInteger & BitwiseCopyable, at offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: type(of: value))
    }

    func store(_ value: BlockFingerprint, at offset: Int) {
        store(value.words.0, at: offset)
        store(value.words.1, at: offset + 8)
        store(value.words.2, at: offset + 16)
        store(value.words.3, at: offset + 24)
    }
}

extension UnsafeRawBufferPointer {
    func load<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type, at offset: Int) -> T {
        T(littleEndian: loadUnaligned(fromByteOffset: offset, as: type))
    }

    func loadFingerprint(at offset: Int) -> BlockFingerprint {
        BlockFingerprint(
            (
                load(UInt64.self, at: offset), load(UInt64.self, at: offset + 8),
                load(UInt64.self, at: offset + 16), load(UInt64.self, at: offset + 24)
            ))
    }
}
