import CNanoKernels

/// The operands of attention: random queries, and a cache of random keys and values.
private struct AttentionOperands: Sendable {
    let shape: AttentionShape
    let kernels: Kernels
    let threads: Int
    let sequenceCount: Int
    let blocksPerSequence: Int
    let headByteCount: Int
    let rowCapacity: Int
    private let rowWidth: Int
    private nonisolated(unsafe) let layer: nk_kv_layer
    private nonisolated(unsafe) let table: UnsafeMutablePointer<Int32>  // (sequence, block)
    private nonisolated(unsafe) let query: UnsafeMutablePointer<Float>  // (row, head, D)
    private nonisolated(unsafe) let out: UnsafeMutablePointer<Float>  // (row, head, D)
    private nonisolated(unsafe) let records: UnsafeMutablePointer<Float>  // (record, head, ...)
    // These keep memory mapped.
    private let numbers: RandomMemory
    private let arena: MemoryArena

    /// One kernel's call: rows of a sequence, and the item of the context where it is cut.
    struct Piece: Sendable {
        var sequence: Int
        var firstPosition: Int
        var rowCount: Int
        var item: (index: Int, record: Int)?
    }

    /// Query heads of one KV head.
    var groupHeads: Int { shape.heads / shape.kvHeads }

    init(
        _ shape: AttentionShape, _ bench: KernelWorkbench, sequences: Int? = nil, rows: Int,
        records recordCount: Int
    ) throws(KernelBenchmarkError) {
        let headBytes = nk_kv_head_bytes(shape.cache.kernelType, Int32(shape.headDimension))
        let blockCount = bench.numbers.byteCount / (headBytes * shape.kvHeads)
        blocksPerSequence = (shape.tokens + blockSize - 1) / blockSize
        sequenceCount = min(sequences ?? .max, blockCount / blocksPerSequence)
        precondition(sequenceCount > 0, "There must be random numbers for a sequence.")
        let rowWidth = shape.heads * shape.headDimension
        let recordWidth = shape.heads * Int(NK_ATTENTION_RECORD)
        arena = try bench.arena(
            byteCount: MemoryArena.byteCount(Int32.self, blockCount)
                + 2 * MemoryArena.byteCount(Float.self, rows * rowWidth)
                + MemoryArena.byteCount(Float.self, max(1, recordCount * recordWidth)))
        let order = Self.blocks(blockCount, shape.order)
        table = arena.cutStart(Int32.self, count: blockCount)
        table.update(from: order, count: blockCount)
        let queries = arena.cut(Float.self, count: rows * rowWidth)
        KernelWorkbench.fill(queries, seed: 1)
        guard let query = queries.baseAddress else {
            preconditionFailure("Attention must have rows.")
        }
        self.query = query
        out = arena.cutStart(Float.self, count: rows * rowWidth)
        records = arena.cutStart(Float.self, count: recordCount * recordWidth)
        layer = nk_kv_layer(
            base: bench.numbers.base.assumingMemoryBound(to: UInt8.self),
            block_stride: headBytes * shape.kvHeads, head_stride: headBytes,
            type: shape.cache.kernelType)
        (self.shape, kernels, threads) = (shape, bench.kernels, bench.threads)
        (headByteCount, rowCapacity, self.rowWidth) = (headBytes, rows, rowWidth)
        numbers = bench.numbers
    }

    private static func blocks(_ count: Int, _ order: BlockOrder) -> [Int32] {
        let blocks = (0..<count).map { Int32($0) }
        guard order == .scattered else { return blocks }
        var random = SplitMix64(seed: 1)
        return blocks.shuffled(using: &random)
    }

    /// Attends with the query heads of one KV head; `next` is what the thread will read next.
    func attend(_ piece: Piece, kvHead: Int, next: (piece: Piece, kvHead: Int)) {
        let offset = kvHead * groupHeads * shape.headDimension
        // A whole number of prompt pieces: none of them crosses the end.
        let firstRow = (piece.sequence + piece.firstPosition) % rowCapacity
        let nextBlock = (next.piece.item?.index ?? 0) * blocksPerItem
        let attention = nk_attention_piece(
            query: UnsafePointer(query + firstRow * rowWidth + offset), query_stride: rowWidth,
            out: out + firstRow * rowWidth + offset, out_stride: rowWidth,
            rows: Int32(piece.rowCount), heads: Int32(groupHeads),
            head_dim: Int32(shape.headDimension), kv_head: Int32(kvHead),
            first_position: Int32(piece.firstPosition),
            block_table: UnsafePointer(table + piece.sequence * blocksPerSequence),
            scale: 1 / Float(shape.headDimension).squareRoot(),
            next_block_table: UnsafePointer(
                table + next.piece.sequence * blocksPerSequence + nextBlock),
            next_kv_head: Int32(next.kvHead))
        guard let (item, record) = piece.item else {
            kernels.functions.pointee.attention(attention, layer)
            return
        }
        let place = (record * shape.heads + kvHead * groupHeads) * Int(NK_ATTENTION_RECORD)
        kernels.functions.pointee.attention_item(attention, layer, Int32(item), records + place)
    }
}

/// The last position of many sequences, each with its own context, together several times the
/// last-level cache.
struct DecodeWork: KernelWork {
    package let operationsPerPortion: Double
    package let bytesPerPortion: Double

    private let operands: AttentionOperands
    private let pieces: [AttentionOperands.Piece]
    private let tilesPerChunk: Int

    /// Partial results that the engine has room for; once used up, contexts are not cut.
    private static let recordCount = 256

    init(_ shape: AttentionShape, _ bench: KernelWorkbench) throws(KernelBenchmarkError) {
        operands = try AttentionOperands(
            shape, bench, rows: 256, records: shape.tokens > itemSize ? Self.recordCount : 0)
        // A portion is one token of one KV head.
        operationsPerPortion = 4 * Double(operands.groupHeads * shape.headDimension)
        bytesPerPortion = Double(operands.headByteCount) / Double(blockSize)
        let tileBytes = Int(bytesPerPortion) * min(shape.tokens, itemSize)
        tilesPerChunk = max(1, (256 << 10) / tileBytes)
        pieces = Self.pieces(shape, sequenceCount: operands.sequenceCount)
    }

    /// As the engine cuts them: contexts of several items, while there are records for these.
    private static func pieces(
        _ shape: AttentionShape, sequenceCount: Int
    ) -> [AttentionOperands.Piece] {
        let itemCount = (shape.tokens + itemSize - 1) / itemSize
        var usedRecordCount = 0
        return (0..<sequenceCount).flatMap { sequence in
            let whole = AttentionOperands.Piece(
                sequence: sequence, firstPosition: shape.tokens - 1, rowCount: 1)
            guard itemCount > 1, usedRecordCount + itemCount <= recordCount else { return [whole] }
            defer { usedRecordCount += itemCount }
            return (0..<itemCount).map { index in
                var piece = whole
                piece.item = (index, usedRecordCount + index)
                return piece
            }
        }
    }

    package func run(thread: Int, chunk: Int) -> UInt64 {
        let shape = operands.shape
        let tileCount = pieces.count * shape.kvHeads
        // Units take tiles in turn.
        let place = { (index: Int) in
            let tile = (index * operands.threads + thread) % tileCount
            return (piece: pieces[tile / shape.kvHeads], kvHead: tile % shape.kvHeads)
        }
        var tokens = 0
        for index in chunk * tilesPerChunk..<(chunk + 1) * tilesPerChunk {
            let (piece, kvHead) = place(index)
            operands.attend(piece, kvHead: kvHead, next: place(index + 1))
            tokens +=
                piece.item.map { min(itemSize, shape.tokens - $0.index * itemSize) } ?? shape.tokens
        }
        return UInt64(tokens)
    }
}

/// A prompt's rows, 16 a call as in the engine.
///
/// Keys and values come from the caches, where the rows before have just put them.
struct PrefillWork: KernelWork {
    package let operationsPerPortion: Double
    package let bytesPerPortion = 0.0

    private let operands: AttentionOperands
    private let stride: Int

    init(_ shape: AttentionShape, _ bench: KernelWorkbench) throws(KernelBenchmarkError) {
        operands = try AttentionOperands(shape, bench, sequences: 1, rows: 512, records: 0)
        // A portion is one key and value that one row sees.
        operationsPerPortion = 4 * Double(operands.groupHeads * shape.headDimension)
        // Late rows see more than early ones: each round shall have its share of both. 0.618 of the
        // way is as far as a step can be from the places of those before it.
        let tileCount = shape.tokens / rowsPerPiece * shape.kvHeads
        stride =
            (1...tileCount).first {
                $0 * 1000 >= tileCount * 618 && greatestCommonDivisor($0, tileCount) == 1
            } ?? 1
    }

    package func run(thread: Int, chunk: Int) -> UInt64 {
        let shape = operands.shape
        let pieceCount = shape.tokens / rowsPerPiece
        let place = { (index: Int) in
            let tile =
                (index * operands.threads + thread) * stride % (pieceCount * shape.kvHeads)
            let piece = AttentionOperands.Piece(
                sequence: 0, firstPosition: tile / shape.kvHeads * rowsPerPiece,
                rowCount: rowsPerPiece)
            return (piece: piece, kvHead: tile % shape.kvHeads)
        }
        let (piece, kvHead) = place(chunk)
        operands.attend(piece, kvHead: kvHead, next: place(chunk + 1))
        // Row i sees first + i + 1 positions.
        return UInt64(
            rowsPerPiece * piece.firstPosition + rowsPerPiece * (rowsPerPiece + 1) / 2)
    }
}

private func greatestCommonDivisor(_ a: Int, _ b: Int) -> Int {
    b == 0 ? a : greatestCommonDivisor(b, a % b)
}

private let blockSize = Int(NK_KV_BLOCK)
private let itemSize = Int(NK_ATTENTION_ITEM)
private let blocksPerItem = itemSize / blockSize
/// Rows of a prompt that attend together in the engine.
private let rowsPerPiece = 16
