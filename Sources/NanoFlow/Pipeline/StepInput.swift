import CNanoKernels
import NanoDevice

/// One batch as the execution units read it, and the results that they write.
///
/// Row r is one position of one slot's sequence, as ``BatchLayout`` has it. There are two of
/// these: one step's is filled while the other's step runs.
struct StepInput {
    struct Row {
        var slot: Int32
        var position: Int32
        /// Where the row attends in items: the first one's record, and how many there are.
        var firstRecord: Int32 = 0
        var recordCount: Int32 = 0
    }

    /// Consecutive rows of one sequence, of one block, that attend.
    struct Piece {
        var firstRow: Int32
        var rowCount: Int32
        var slot: Int32
        var firstPosition: Int32
        /// The item of the row's context and its record; nil: all of it, and no record.
        var item: (index: Int32, record: Int32)?

        /// The blocks of the sequence that are read.
        var blocks: Range<Int> {
            let end = (Int(firstPosition) + Int(rowCount) - 1) / KVArena.blockSize + 1
            guard let item else { return 0..<end }
            let first = Int(item.index) * Self.blocksPerItem
            return first..<min(first + Self.blocksPerItem, end)
        }

        private static let blocksPerItem = Int(NK_ATTENTION_ITEM) / KVArena.blockSize
    }

    /// A row that goes through the LM head.
    struct LogitRow {
        var row: Int32
        var slot: Int32
        var position: Int32
        /// Whether the next token is the prompt's, and is scored; else one is sampled.
        var isScored: Bool
        /// Whether all logits are wanted; else what is kept of each tile is enough.
        var wantsLogits: Bool
        /// 0: greedy.
        var inverseTemperature: Float
    }

    private(set) var rowCount = 0
    private(set) var prefillPieceCount = 0
    private(set) var decodePieceCount = 0
    private var usedRecordCount = 0
    private(set) var logitRowCount = 0
    let rows: UnsafeMutablePointer<Row>
    let prefillPieces: UnsafeMutablePointer<Piece>
    let decodePieces: UnsafeMutablePointer<Piece>
    let logitRows: UnsafeMutablePointer<LogitRow>
    let results: UnsafeMutablePointer<RowResult>
    let alternatives: UnsafeMutablePointer<TokenLogprobPair>  // (logit row, maxAlternatives)

    /// Rows of a prompt that attend together; a divisor of the block size.
    static let rowsPerPiece = 16

    /// Partial results of decode attention in a step.
    ///
    /// Long contexts are cut into items so that few
    /// sequences keep many units busy; when the records are used up there are pieces enough.
    static let recordCount = 256

    static func byteCount(_ limits: Scheduler.Limits) -> Int {
        MemoryArena.byteCount(Row.self, limits.batchedTokens)
            + MemoryArena.byteCount(Piece.self, limits.batchedTokens)
            + MemoryArena.byteCount(Piece.self, limits.batchedTokens + recordCount)
            + MemoryArena.byteCount(LogitRow.self, limits.logitRows)
            + MemoryArena.byteCount(RowResult.self, limits.logitRows)
            + MemoryArena.byteCount(
                TokenLogprobPair.self, limits.logitRows * Sampler.maxAlternatives)
    }

    init(_ limits: Scheduler.Limits, arena: MemoryArena) {
        rows = arena.cutFloor(Row.self, limits.batchedTokens)
        prefillPieces = arena.cutFloor(Piece.self, limits.batchedTokens)
        decodePieces = arena.cutFloor(Piece.self, limits.batchedTokens + Self.recordCount)
        logitRows = arena.cutFloor(LogitRow.self, limits.logitRows)
        results = arena.cutFloor(RowResult.self, limits.logitRows)
        alternatives = arena.cutFloor(
            TokenLogprobPair.self, limits.logitRows * Sampler.maxAlternatives)
    }

    /// Fills in a batch as it is laid out.
    ///
    /// - Parameters:
    ///   - batch: What the step computes.
    ///   - layout: Which row is which of its positions.
    ///   - cuts: Rows at which pieces of prompts are cut, ascending.
    ///   - tables: Get the batch's new blocks.
    ///   - vocabularyCount: Tokens that samplings may ask for.
    /// - Returns: The logit rows of each item.
    mutating func fill(
        _ batch: Batch, _ layout: BatchLayout, cuts: [Int], tables: SlotTables,
        vocabularyCount: Int
    ) -> [[Int]] {
        (rowCount, prefillPieceCount, decodePieceCount, logitRowCount) = (0, 0, 0, 0)
        usedRecordCount = 0
        for item in batch.items {
            tables.setBlocks(slot: item.slot, from: item.firstNewBlock, item.newBlocks)
        }
        for run in layout.runs {
            addRows(of: run)
            if run.isDecode { addDecode(run) } else { addPrefill(run, cuts: cuts) }
        }
        var logitRowsOfItems = [[Int]](repeating: [], count: batch.items.count)
        var run = 0
        for row in layout.logitRows {
            while layout.runs[run].rows.upperBound <= row { run += 1 }
            let index = layout.runs[run].item
            logitRowsOfItems[index].append(logitRowCount)
            addLogitRow(row, batch.items[index], tables, vocabularyCount)
        }
        return logitRowsOfItems
    }

    private mutating func addRows(of run: BatchLayout.Run) {
        for position in run.positions {
            rows[rowCount] = Row(slot: Int32(run.slot), position: Int32(position))
            rowCount += 1
        }
    }

    private mutating func addLogitRow(
        _ row: Int, _ item: Batch.Item, _ tables: SlotTables, _ vocabularyCount: Int
    ) {
        let sampling = tables.sampling(item.slot)
        let count = Int(rows[row].position) + 1
        logitRows[logitRowCount] = LogitRow(
            row: Int32(row), slot: Int32(item.slot), position: rows[row].position,
            isScored: item.logits == .all && count < sampling.promptCount,
            wantsLogits: item.logits == .all
                || sampling.wantsLogits(of: vocabularyCount, at: count),
            inverseTemperature: sampling.inverseTemperature)
        logitRowCount += 1
    }

    private mutating func addDecode(_ run: BatchLayout.Run) {
        let (row, position) = (run.firstRow, run.positions.lowerBound)
        var piece = Piece(
            firstRow: Int32(row), rowCount: 1, slot: Int32(run.slot),
            firstPosition: Int32(position))
        let itemCount = position / Int(NK_ATTENTION_ITEM) + 1
        if itemCount == 1 || usedRecordCount + itemCount > Self.recordCount {
            append(decode: piece)
            return
        }
        rows[row].firstRecord = Int32(usedRecordCount)
        rows[row].recordCount = Int32(itemCount)
        for index in 0..<itemCount {
            piece.item = (Int32(index), Int32(usedRecordCount + index))
            append(decode: piece)
        }
        usedRecordCount += itemCount
    }

    private mutating func append(decode piece: Piece) {
        decodePieces[decodePieceCount] = piece
        decodePieceCount += 1
    }

    private mutating func addPrefill(_ run: BatchLayout.Run, cuts: [Int]) {
        var row = run.firstRow
        while row < run.rows.upperBound {
            let position = run.positions.lowerBound + row - run.firstRow
            // At multiples of the piece's rows, wherever the chunk begins, and at the cuts.
            let left = Self.rowsPerPiece - position % Self.rowsPerPiece
            let cut = cuts.first { $0 > row } ?? run.rows.upperBound
            let end = min(row + left, cut, run.rows.upperBound)
            prefillPieces[prefillPieceCount] = Piece(
                firstRow: Int32(row), rowCount: Int32(end - row), slot: Int32(run.slot),
                firstPosition: Int32(position))
            prefillPieceCount += 1
            row = end
        }
    }

    /// The pieces that begin within the rows.
    func pieces(of kind: Operation.Kind, in rows: Range<Int>) -> UnsafeBufferPointer<Piece> {
        let all =
            kind == .decodeAttention
            ? UnsafeBufferPointer(start: decodePieces, count: decodePieceCount)
            : UnsafeBufferPointer(start: prefillPieces, count: prefillPieceCount)
        let first = all.firstIndex { $0.firstRow >= rows.lowerBound } ?? all.count
        let end = all[first...].firstIndex { $0.firstRow >= rows.upperBound } ?? all.count
        return UnsafeBufferPointer(rebasing: all[first..<end])
    }
}
