import CNanoKernels
import Foundation
import NanoTestSupport

/// A random sequence in a paged cache whose blocks are handed out in shuffled order, two KV heads.
///
/// Slots that hold no token yet hold NaN.
struct AttentionCase {
    static let kvHeads = 2

    let type: nk_kv_type
    let heads: Int
    let headDim: Int
    let tokens: Int
    let query: [Float]  // (token, KV head, head, D)
    private let keys: [Float]  // (token, KV head, D)
    private let values: [Float]  // (token, KV head, D)
    private var blockTable: [Int32]
    private var arena: [UInt64]

    private var headBytes: Int { nk_kv_head_bytes(type, Int32(headDim)) }
    private var queryStride: Int { Self.kvHeads * heads * headDim }
    private var scale: Float { 1 / Float(headDim).squareRoot() }

    /// `blockSeed` shuffles the blocks; all else follows from `seed`.
    init(
        type: nk_kv_type, heads: Int, headDim: Int, tokens: Int, seed: UInt64, blockSeed: UInt64 = 1
    ) {
        var generator = SeededGenerator(seed: seed)
        self.type = type
        self.heads = heads
        self.headDim = headDim
        self.tokens = tokens
        query = generator.floats(tokens * Self.kvHeads * heads * headDim, in: -4...4)
        keys = generator.floats(tokens * Self.kvHeads * headDim, in: -2...2)
        values = generator.floats(tokens * Self.kvHeads * headDim)
        var shuffler = SeededGenerator(seed: blockSeed)
        let blocks = (tokens + 15) / 16
        blockTable = Array((0..<Int32(blocks + 3)).shuffled(using: &shuffler).prefix(blocks))
        arena = []
        let arenaBytes = (blocks + 3) * Self.kvHeads * headBytes
        arena = [UInt64](repeating: .max, count: arenaBytes / 8)
    }

    /// The cache but for its address, which holds only while the arena is borrowed.
    private var layout: nk_kv_layer {
        nk_kv_layer(
            base: nil, block_stride: Self.kvHeads * headBytes, head_stride: headBytes, type: type)
    }

    mutating func append(tokens range: Range<Int>) {
        for token in range {
            let row = Self.kvHeads * headDim
            let key = Array(keys[(token * row)..<((token + 1) * row)])
            let value = Array(values[(token * row)..<((token + 1) * row)])
            let block = blockTable[token / 16]
            let (kvHeads, headDim) = (Int32(Self.kvHeads), Int32(headDim))
            var layer = layout
            arena.withUnsafeMutableBufferPointer {
                layer.base = UnsafeMutableRawPointer($0.baseAddress)?
                    .assumingMemoryBound(to: UInt8.self)
                nk_kv_append(key, value, kvHeads, headDim, layer, block, Int32(token))
            }
        }
    }

    /// Attends for rows at these positions, all KV heads; (row, KV head, head, D).
    mutating func attend(_ set: KernelSet, positions: Range<Int>) -> [Float] {
        let rows = Array(query[(positions.lowerBound * queryStride)...])
        var out = [Float](repeating: .nan, count: positions.count * queryStride)
        // Just the blocks that the last row sees: reading past them is out of bounds.
        let table = Array(blockTable.prefix((positions.upperBound + 15) / 16))
        for kvHead in 0..<Self.kvHeads {
            rows.withUnsafeBufferPointer { query in
                out.withUnsafeMutableBufferPointer { out in
                    table.withUnsafeBufferPointer { table in
                        let offset = kvHead * heads * headDim
                        let piece = nk_attention_piece(
                            query: query.baseAddress.map { $0 + offset }, query_stride: queryStride,
                            out: out.baseAddress.map { $0 + offset }, out_stride: queryStride,
                            rows: Int32(positions.count), heads: Int32(heads),
                            head_dim: Int32(headDim), kv_head: Int32(kvHead),
                            first_position: Int32(positions.lowerBound),
                            block_table: table.baseAddress, scale: scale)
                        call(set.kernels.attention, piece)
                    }
                }
            }
        }
        return out
    }

    private mutating func call(
        _ attention: (nk_attention_piece, nk_kv_layer) -> Void, _ piece: nk_attention_piece
    ) {
        var layer = layout
        arena.withUnsafeMutableBufferPointer {
            layer.base = UnsafeMutableRawPointer($0.baseAddress)?
                .assumingMemoryBound(to: UInt8.self)
            attention(piece, layer)
        }
    }

    /// The whole sequence in double precision from K and V as the cache rounds them.
    func reference() -> [Double] {
        let keys = (type == NK_KV_BF16 ? roundedToBF16(keys) : keys).map(Double.init)
        let values = (type == NK_KV_BF16 ? roundedToBF16(values) : values).map(Double.init)
        var out: [Double] = []
        for position in 0..<tokens {
            for head in 0..<(Self.kvHeads * heads) {
                let start = position * queryStride + head * headDim
                let kvOffset = head / heads * headDim
                let scores = (0...position).map { token in
                    let k = token * Self.kvHeads * headDim + kvOffset
                    return Double(scale)
                        * (0..<headDim).reduce(0) { $0 + Double(query[start + $1]) * keys[k + $1] }
                }
                let maximum = scores.max() ?? 0
                let weights = scores.map { exp($0 - maximum) }
                let sum = weights.reduce(0, +)
                out += (0..<headDim).map { d in
                    weights.indices.reduce(0) {
                        $0 + weights[$1] * values[$1 * Self.kvHeads * headDim + kvOffset + d]
                    } / sum
                }
            }
        }
        return out
    }
}
