import CNanoKernels
import NanoTestSupport

/// A random sequence in a paged cache whose blocks are handed out in shuffled order, two KV heads.
///
/// All bits of slots that hold no token yet are set, which makes them NaN.
struct AttentionCase {
    static let kvHeads = 2
    static let itemTokens = 512

    let type: nk_kv_type
    let heads: Int
    let headDim: Int
    let tokens: Int
    let query: [Float]  // (token, KV head, head, D)
    private(set) var keys: [Float]  // (token, KV head, D)
    private(set) var values: [Float]  // (token, KV head, D)
    private var blockTable: [Int32]
    private var arena: [UInt64]

    private var headBytes: Int { nk_kv_head_bytes(type, Int32(headDim)) }
    var queryStride: Int { Self.kvHeads * heads * headDim }
    var scale: Float { 1 / Float(headDim).squareRoot() }

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
        let blocks = (tokens + 63) / 64
        blockTable = Array((0..<Int32(blocks + 3)).shuffled(using: &shuffler).prefix(blocks))
        arena = []
        let arenaBytes = (blocks + 3) * Self.kvHeads * headBytes
        arena = [UInt64](repeating: .max, count: arenaBytes / 8)
    }

    /// Makes a number of the token's keys or values, of all KV heads, something else.
    mutating func spoil(token: Int, keys spoilsKeys: Bool, with number: Float) {
        for kvHead in 0..<Self.kvHeads {
            let index = (token * Self.kvHeads + kvHead) * headDim + headDim / 2
            if spoilsKeys { keys[index] = number } else { values[index] = number }
        }
    }

    mutating func append(tokens range: Range<Int>) {
        for token in range {
            let row = (token * Self.kvHeads * headDim)..<((token + 1) * Self.kvHeads * headDim)
            let (key, value) = (Array(keys[row]), Array(values[row]))
            let block = blockTable[token / 64]
            let headDim = Int32(headDim)
            withLayer {
                KernelSet.portable.kernels.kv_append(
                    key, value, Int32(Self.kvHeads), headDim, $0, block, Int32(token))
            }
        }
    }

    private mutating func withLayer(_ body: (nk_kv_layer) -> Void) {
        var layer = nk_kv_layer(
            base: nil, block_stride: Self.kvHeads * headBytes, head_stride: headBytes, type: type)
        arena.withUnsafeMutableBytes {
            layer.base = $0.baseAddress?.assumingMemoryBound(to: UInt8.self)
            body(layer)
        }
    }
}

// MARK: - Attending

extension AttentionCase {
    /// Attends for rows at these positions, all KV heads; (row, KV head, head, D).
    ///
    /// `hint`: each piece says what is read next.
    mutating func attend(
        _ set: KernelSet, positions: Range<Int>, hint: Bool = false
    ) -> [Float] {
        var out = [Float](repeating: .nan, count: positions.count * queryStride)
        var first = positions.lowerBound
        while first < positions.upperBound {
            // The rows of a piece lie in one block.
            let rows = first..<min(positions.upperBound, (first / 64 + 1) * 64)
            let offset = (first - positions.lowerBound) * queryStride
            for kvHead in 0..<Self.kvHeads {
                withPiece(rows: rows, kvHead: kvHead, out: &out, at: offset, hint: hint) {
                    set.kernels.attention($0, $1)
                }
            }
            first = rows.upperBound
        }
        return out
    }

    /// The same for one row, item by item, last item first.
    mutating func attendInItems(_ set: KernelSet, position: Int) -> [Float] {
        let items = position / Self.itemTokens + 1
        let length = heads * Int(NK_ATTENTION_RECORD)
        var untouched = [Float](repeating: -7, count: queryStride)
        var out: [Float] = []
        for kvHead in 0..<Self.kvHeads {
            var records = [Float](repeating: .nan, count: items * length)
            for item in (0..<items).reversed() {
                let rows = position..<(position + 1)
                var record = [Float](repeating: .nan, count: length)
                withPiece(rows: rows, kvHead: kvHead, out: &untouched, at: 0) {
                    set.kernels.attention_item($0, $1, Int32(item), &record)
                }
                records.replaceSubrange((item * length)..<((item + 1) * length), with: record)
            }
            var merged = [Float](repeating: .nan, count: heads * headDim)
            set.kernels.merge_items(
                &records, Int32(items), Int32(heads), Int32(headDim), &merged)
            out += merged
        }
        precondition(untouched.allSatisfy { $0 == -7 }, "an item leaves the piece's out alone")
        return out
    }

    private mutating func withPiece(
        rows: Range<Int>, kvHead: Int, out: inout [Float], at offset: Int, hint: Bool = false,
        _ body: (nk_attention_piece, nk_kv_layer) -> Void
    ) {
        let query = Array(query[(rows.lowerBound * queryStride)...])
        // Just the blocks that the last row sees: reading past them is out of bounds.
        let table = Array(blockTable.prefix((rows.upperBound + 63) / 64))
        let next = [blockTable[0]]
        let head = kvHead * heads * headDim
        let (stride, heads, headDim, scale) = (queryStride, heads, headDim, scale)
        withLayer { layer in
            query.withUnsafeBufferPointer { query in
                out.withUnsafeMutableBufferPointer { out in
                    table.withUnsafeBufferPointer { table in
                        next.withUnsafeBufferPointer { next in
                            let piece = nk_attention_piece(
                                query: query.baseAddress.map { $0 + head }, query_stride: stride,
                                out: out.baseAddress.map { $0 + offset + head },
                                out_stride: stride, rows: Int32(rows.count),
                                heads: Int32(heads), head_dim: Int32(headDim),
                                kv_head: Int32(kvHead), first_position: Int32(rows.lowerBound),
                                block_table: table.baseAddress, scale: scale,
                                next_block_table: hint ? next.baseAddress : nil,
                                next_kv_head: hint ? 1 - Int32(kvHead) : 0)
                            body(piece, layer)
                        }
                    }
                }
            }
        }
    }
}
