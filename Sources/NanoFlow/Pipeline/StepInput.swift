import CNanoKernels
import NanoDevice

/// One batch as the execution units read it, and the results that they write.
///
/// Rows are packed batch-wide: row r is one position of one slot's sequence. There are two of
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
    }

    /// A row that goes through the LM head.
    struct LogitRow {
        var row: Int32
        var slot: Int32
        var position: Int32
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

    /// Lays out a batch; returns the first logit row of each item.
    mutating func fill(_ batch: Batch, tables: SlotTables, vocabularyCount: Int) -> [Int] {
        (rowCount, prefillPieceCount, decodePieceCount, logitRowCount) = (0, 0, 0, 0)
        usedRecordCount = 0
        return batch.items.map { item in
            tables.setBlocks(slot: item.slot, from: item.firstNewBlock, item.newBlocks)
            let firstLogitRow = logitRowCount
            let firstRow = rowCount
            let sampling = tables.sampling(item.slot)
            let wantsLogits =
                item.logits == .all || sampling.wantsLogits(of: vocabularyCount)
            for position in item.positions {
                add(item, position, wantsLogits, sampling.inverseTemperature)
            }
            if item.positions.count == 1 {
                addDecode(item, row: firstRow)
            } else {
                addPrefill(item, firstRow: firstRow)
            }
            return firstLogitRow
        }
    }

    private mutating func add(
        _ item: Batch.Item, _ position: Int, _ wantsLogits: Bool, _ inverseTemperature: Float
    ) {
        rows[rowCount] = Row(slot: Int32(item.slot), position: Int32(position))
        let isLast = position == item.positions.upperBound - 1
        let hasLogits =
            switch item.logits {
            case .none: false
            case .last: isLast
            case .all: true
            }
        if hasLogits {
            logitRows[logitRowCount] = LogitRow(
                row: Int32(rowCount), slot: Int32(item.slot), position: Int32(position),
                isScored: item.logits == .all, wantsLogits: wantsLogits,
                inverseTemperature: inverseTemperature)
            logitRowCount += 1
        }
        rowCount += 1
    }

    private mutating func addDecode(_ item: Batch.Item, row: Int) {
        let position = item.positions.lowerBound
        var piece = Piece(
            firstRow: Int32(row), rowCount: 1, slot: Int32(item.slot),
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

    private mutating func addPrefill(_ item: Batch.Item, firstRow: Int) {
        var first = item.positions.lowerBound
        while first < item.positions.upperBound {
            // Cuts at multiples of the piece's rows, wherever the chunk begins.
            let end = min(
                (first / Self.rowsPerPiece + 1) * Self.rowsPerPiece, item.positions.upperBound)
            prefillPieces[prefillPieceCount] = Piece(
                firstRow: Int32(firstRow + first - item.positions.lowerBound),
                rowCount: Int32(end - first), slot: Int32(item.slot), firstPosition: Int32(first))
            prefillPieceCount += 1
            first = end
        }
    }
}
