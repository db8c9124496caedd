package import CNanoKernels

/// The memory of the paged KV cache: [layer][block][KV head][K panel | V panel | scales].
///
/// A block holds 64 tokens; within a layer it is one run of bytes. Which block belongs to whom is
/// the block pool's business; this type only knows addresses.
package struct KVArena: Sendable {
    /// Tokens in a block.
    package static let blockSize = NK_KV_BLOCK

    package let layerCount: Int
    package let blockCount: Int
    private let type: nk_kv_type
    /// Bytes of one KV head's keys and values in one block of one layer.
    package let headByteCount: Int
    private let blockByteCount: Int
    private nonisolated(unsafe) let base: UnsafeMutablePointer<UInt8>

    /// Bytes of all layers' blocks of one number.
    package var wholeBlockByteCount: Int { layerCount * blockByteCount }

    /// Bytes of one block in all layers.
    package static func blockByteCount(
        layers: Int, kvHeads: Int, headDimension: Int, type: nk_kv_type
    ) -> Int {
        layers * kvHeads * nk_kv_head_bytes(type, Int32(headDimension))
    }

    /// Cuts `blockCount` blocks for every layer.
    package init(
        layers: Int, kvHeads: Int, headDimension: Int, type: nk_kv_type, blockCount: Int,
        arena: MemoryArena
    ) {
        layerCount = layers
        self.blockCount = blockCount
        self.type = type
        headByteCount = nk_kv_head_bytes(type, Int32(headDimension))
        blockByteCount = kvHeads * headByteCount
        let bytes = arena.cut(UInt8.self, count: layers * blockCount * blockByteCount)
        guard let base = bytes.baseAddress else {
            preconditionFailure("The KV cache must have at least one block.")
        }
        self.base = base
    }

    /// Gives the first blocks of every layer numbers, small and finite in each format.
    ///
    /// Until it is written the cache may be one page of zeros.
    package func fill(blockCount: Int) {
        for layer in 0..<layerCount {
            let first = base + layer * self.blockCount * blockByteCount
            first.initialize(
                repeating: 0x3C, count: min(blockCount, self.blockCount) * blockByteCount)
        }
    }

    /// Takes the first blocks of every layer, as many as fit into so many bytes, from the system now.
    package func makeResident(byteCount: Int) {
        let count = min(blockCount, byteCount / wholeBlockByteCount)
        for layer in 0..<layerCount {
            let first = base + layer * blockCount * blockByteCount
            MemoryArena.makeResident(
                UnsafeMutableRawBufferPointer(start: first, count: count * blockByteCount))
        }
    }

    /// A block in each layer, from the first layer on.
    package func pieces(ofBlock block: Int32) -> [UnsafeMutableRawBufferPointer] {
        precondition(block >= 0 && block < blockCount, "The block must exist.")
        return (0..<layerCount).map {
            UnsafeMutableRawBufferPointer(
                start: base + ($0 * blockCount + Int(block)) * blockByteCount,
                count: blockByteCount)
        }
    }

    /// The cache of one layer, as the kernels take it.
    package func layer(_ index: Int) -> nk_kv_layer {
        precondition(index >= 0 && index < layerCount, "The layer must exist.")
        return nk_kv_layer(
            base: base + index * blockCount * blockByteCount, block_stride: blockByteCount,
            head_stride: headByteCount, type: type)
    }
}
