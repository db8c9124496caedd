import NanoDevice

/// One batch as the execution units read it, and the results that they write.
///
/// Rows are packed batch-wide: row r is one position of one slot's sequence. There are two of
/// these: one step's is filled while the other's step runs.
struct StepInput {
    struct Row {
        var slot: Int32
        var position: Int32
    }

    /// Consecutive rows of one sequence.
    struct Piece {
        var firstRow: Int32
        var rowCount: Int32
        var slot: Int32
        var firstPosition: Int32
    }

    /// A row that goes through the LM head.
    struct LogitRow {
        var row: Int32
        var slot: Int32
        var position: Int32
        var isScored: Bool
    }

    private(set) var rowCount = 0
    private(set) var prefillPieceCount = 0
    private(set) var decodePieceCount = 0
    private(set) var logitRowCount = 0
    let rows: UnsafeMutablePointer<Row>
    let prefillPieces: UnsafeMutablePointer<Piece>
    let decodePieces: UnsafeMutablePointer<Piece>
    let logitRows: UnsafeMutablePointer<LogitRow>
    let results: UnsafeMutablePointer<RowResult>
    let alternatives: UnsafeMutablePointer<TokenLogprobPair>  // (logit row, maxAlternatives)

    /// Rows of a prompt that attend together; a measured choice is the next step's business.
    static let rowsPerPiece = 16

    static func byteCount(_ limits: Scheduler.Limits) -> Int {
        MemoryArena.byteCount(Row.self, limits.batchedTokens)
            + 2 * MemoryArena.byteCount(Piece.self, limits.batchedTokens)
            + MemoryArena.byteCount(LogitRow.self, limits.logitRows)
            + MemoryArena.byteCount(RowResult.self, limits.logitRows)
            + MemoryArena.byteCount(
                TokenLogprobPair.self, limits.logitRows * Sampler.maxAlternatives)
    }

    init(_ limits: Scheduler.Limits, arena: MemoryArena) {
        rows = arena.cutFloor(Row.self, limits.batchedTokens)
        prefillPieces = arena.cutFloor(Piece.self, limits.batchedTokens)
        decodePieces = arena.cutFloor(Piece.self, limits.batchedTokens)
        logitRows = arena.cutFloor(LogitRow.self, limits.logitRows)
        results = arena.cutFloor(RowResult.self, limits.logitRows)
        alternatives = arena.cutFloor(
            TokenLogprobPair.self, limits.logitRows * Sampler.maxAlternatives)
    }

    /// Lays out a batch; returns the first logit row of each item.
    mutating func fill(_ batch: Batch, tables: SlotTables) -> [Int] {
        (rowCount, prefillPieceCount, decodePieceCount, logitRowCount) = (0, 0, 0, 0)
        return batch.items.map { item in
            tables.setBlocks(slot: item.slot, from: item.firstNewBlock, item.newBlocks)
            let firstLogitRow = logitRowCount
            addPieces(item)
            for position in item.positions {
                add(item, position)
            }
            return firstLogitRow
        }
    }

    private mutating func add(_ item: Batch.Item, _ position: Int) {
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
                isScored: item.logits == .all)
            logitRowCount += 1
        }
        rowCount += 1
    }

    private mutating func addPieces(_ item: Batch.Item) {
        var first = item.positions.lowerBound
        while first < item.positions.upperBound {
            // Cuts at multiples of the piece's rows, wherever the chunk begins.
            let end = min(
                (first / Self.rowsPerPiece + 1) * Self.rowsPerPiece, item.positions.upperBound)
            let piece = Piece(
                firstRow: Int32(rowCount + first - item.positions.lowerBound),
                rowCount: Int32(end - first), slot: Int32(item.slot), firstPosition: Int32(first))
            if item.positions.count == 1 {
                decodePieces[decodePieceCount] = piece
                decodePieceCount += 1
            } else {
                prefillPieces[prefillPieceCount] = piece
                prefillPieceCount += 1
            }
            first = end
        }
    }
}
