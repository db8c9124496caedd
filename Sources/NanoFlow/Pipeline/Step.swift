import CNanoKernels
import NanoDevice
import NanoModel

/// One step as a tiled program: which kernels run on which part of which buffer.
///
/// What tiles read is plain memory, resolved when the step is prepared: no object's count of
/// references is touched while it runs.
final class Step: TiledProgram {
    private let shared: StepResources
    private var input: StepInput
    private var arranged: ArrangedPlan?
    private var roles: [UnitRole] = []
    private var work = UnsafeMutableBufferPointer<StepOperation>.allocate(capacity: 0)

    init(_ shared: StepResources, input: StepInput) {
        self.shared = shared
        self.input = input
    }

    deinit { work.deallocate() }

    /// Lays out the batch; returns the results of each item, by their numbers.
    func prepare(_ batch: Batch, _ arranged: ArrangedPlan) -> [[Int]] {
        self.arranged = arranged
        let graph = arranged.graph
        let results = input.fill(
            batch, graph.layout, cuts: graph.cuts(of: .prefillAttention), tables: shared.tables,
            vocabularyCount: shared.model.vocabularyCount)
        if graph.operations.count > work.count {
            work.deallocate()
            work = .allocate(capacity: 2 * graph.operations.count)
        }
        let operations = shared.operations
        let (kvHeadCount, unitCount) = (shared.model.kvHeadCount, shared.unitCount)
        for (index, nano) in graph.operations.enumerated() {
            work.initializeElement(
                at: index,
                to: StepOperation(
                    nano, of: input, operations, kvHeadCount: kvHeadCount, unitCount: unitCount))
        }
        roles = arranged.roles(unitCount: shared.unitCount, shared.workModel)
        return results
    }

    func result(_ index: Int) -> (RowResult, UnsafeBufferPointer<TokenLogprobPair>) {
        let result = input.results[index]
        let alternatives = UnsafeBufferPointer(
            start: input.alternatives + index * Sampler.maxAlternatives,
            count: Int(result.alternativeCount))
        return (result, alternatives)
    }

    func logits(row: Int) -> UnsafeBufferPointer<Float> {
        UnsafeBufferPointer(
            start: shared.activations.logits.row(row), count: shared.model.vocabularyCount)
    }

    // MARK: - TiledProgram

    private var operations: [NanoOperation] { arranged?.graph.operations ?? [] }

    var operationCount: Int { operations.count }

    func dependencies(of operation: Int) -> [Int] { operations[operation].dependencies }

    func category(of operation: Int) -> Int { operations[operation].kind.index }

    var lanes: [[Int]] { arranged?.lanes ?? [] }

    func role(of unit: Int) -> UnitRole { roles[unit] }

    func tileCount(of operation: Int) -> Int { work[operation].tileCount }

    var tileCounts: [Int] { (0..<operationCount).map { work[$0].tileCount } }

    func run(operation index: Int, tile: Int, unit: Int, ahead: Ahead?) {
        let nano = work[index]
        let operation = shared.operations[nano.operation]
        let activations = shared.activations
        switch nano.kind {
        case .embedding: forRows(tile, nano) { embed($0) }
        case .attentionNorm, .feedForwardNorm: forRows(tile, nano) { norm($0, operation, unit) }
        case .ropeAppend: forRows(tile, nano) { ropeAppend($0, operation.cache) }
        case .attentionQuantization: forRows(tile, nano) { quantizeAttended($0, operation.format) }
        case .activation: forRows(tile, nano) { quantizeGated($0, operation) }
        case .prefillAttention, .decodeAttention: attend(nano, tile, operation.cache)
        case .qkvProjection:
            multiply(nano, tile, activations.normed, activations.qkv, NK_STORE, ahead)
        case .outputProjection:
            multiply(nano, tile, activations.attendedInput, activations.residual, NK_ADD, ahead)
        case .gateUpProjection:
            if let width = operation.gatedWidth {
                multiplyGated(nano, tile, width, unit, ahead)
            } else {
                multiply(nano, tile, activations.normed, activations.gated, NK_SILU_MULTIPLY, ahead)
            }
        case .downProjection:
            multiply(nano, tile, activations.activated, activations.residual, NK_ADD, ahead)
        case .lmHead: multiplyHead(nano, tile, unit)
        case .finalNorm: forRows(tile, nano) { finalNorm($0, operation, unit) }
        case .sampling: sample(nano.firstRow + tile, operation.matrix, unit)
        case .attentionAllReduce, .feedForwardAllReduce:
            preconditionFailure("One device adds up nothing over a network.")
        }
    }

    func addReads(of index: Int, tile: Int, to window: inout AheadWindow) {
        let nano = work[index]
        guard nano.kind == .decodeAttention else { return }
        let heads = shared.model.kvHeadCount
        let piece = nano.pieces[tile / heads]
        let blocks = piece.blocks
        let cache = shared.operations[nano.operation].cache
        let table = shared.tables.blockTable(Int(piece.slot))
        for block in blocks {
            let place =
                Int(table[block]) * cache.block_stride + tile % heads * cache.head_stride
            window.add(cache.base + place, byteCount: cache.head_stride)
        }
    }

    // MARK: - Matrix products

    private func multiply(
        _ nano: StepOperation, _ tile: Int, _ rows: ActivationRows, _ out: FloatRows,
        _ epilogue: nk_epilogue, _ ahead: Ahead?
    ) {
        shared.operations[nano.operation].matrix.multiply(
            rows, rows: nano.rows(tile), panels: nano.product.panels(tile), into: out.row(0),
            stride: out.stride, epilogue: epilogue, kernels: shared.kernels, ahead: ahead)
    }

    /// A tile of gate-up, rounded at once.
    private func multiplyGated(
        _ nano: StepOperation, _ tile: Int, _ width: Int, _ unit: Int, _ ahead: Ahead?
    ) {
        let (rows, panels) = (nano.rows(tile), nano.product.panels(tile))
        let operation = shared.operations[nano.operation]
        let gated = shared.scratch[unit].tile
        // The product writes column c of row r to out[r * stride + c].
        let first = panels.lowerBound * TileGeometry.gatedPanelWidth
        operation.matrix.multiply(
            shared.activations.normed, rows: rows, panels: panels,
            into: gated - rows.lowerBound * width - first, stride: width,
            epilogue: NK_SILU_MULTIPLY, kernels: shared.kernels, ahead: ahead)
        for row in rows {
            shared.activations.activated.storePart(
                gated + (row - rows.lowerBound) * width, row: row, part: first / width,
                format: operation.format, kernels: shared.kernels)
        }
    }

    /// A tile of logits lives in the unit's scratch only: of most rows not all are wanted.
    private func multiplyHead(_ nano: StepOperation, _ tile: Int, _ unit: Int) {
        let (rows, panels) = (nano.rows(tile), nano.product.panels(tile))
        let column = panels.lowerBound / TileGeometry.LMHead.panelsPerTile
        computeHead(shared.operations[nano.operation].matrix, rows, panels, unit)
        let tokens = LogitTiles.tokens(column, vocabularyCount: shared.model.vocabularyCount)
        for row in rows {
            let logits =
                shared.scratch[unit].tile + (row - rows.lowerBound) * LogitTiles.columnCount
            if input.logitRows[row].wantsLogits {
                (shared.activations.logits.row(row) + tokens.lowerBound).update(
                    from: logits, count: tokens.count)
                continue
            }
            let tile = LogitTile(
                logits, count: tokens.count, firstToken: tokens.lowerBound,
                inverseTemperature: input.logitRows[row].inverseTemperature,
                kernels: shared.kernels)
            (shared.activations.logitTiles + row * shared.activations.logitTileCount + column)
                .initialize(to: tile)
        }
    }

    /// Logits of the rows and panels, into the unit's scratch: (row, columns of a tile).
    private func computeHead(
        _ head: PackedMatrix, _ rows: Range<Int>, _ panels: Range<Int>, _ unit: Int
    ) {
        let width = LogitTiles.columnCount
        // The product writes column c of row r to out[r * stride + c].
        let origin =
            shared.scratch[unit].tile - rows.lowerBound * width
            - panels.lowerBound * Int(NK_PANEL)
        head.multiply(
            shared.activations.finalNormed, rows: rows, panels: panels, into: origin,
            stride: width, epilogue: NK_STORE, kernels: shared.kernels)
    }

    // MARK: - Row-wise operations

    private func forRows(_ tile: Int, _ nano: StepOperation, _ body: (Int) -> Void) {
        for row in TileGeometry.rows(tile, of: nano.rowCount) { body(nano.firstRow + row) }
    }

    private func embed(_ row: Int) {
        let place = input.rows[row]
        let token = shared.tables.history(Int(place.slot))[Int(place.position)]
        shared.weights.embedding.copyRow(Int(token), to: shared.activations.residual.row(row))
    }

    private func norm(_ row: Int, _ operation: ResolvedOperation, _ unit: Int) {
        normalize(
            shared.activations.residual.row(row), operation, into: shared.activations.normed,
            row: row, unit)
    }

    private func finalNorm(_ logitRow: Int, _ operation: ResolvedOperation, _ unit: Int) {
        let row = Int(input.logitRows[logitRow].row)
        normalize(
            shared.activations.residual.row(row), operation,
            into: shared.activations.finalNormed, row: logitRow, unit)
    }

    private func normalize(
        _ x: UnsafePointer<Float>, _ operation: ResolvedOperation, into out: ActivationRows,
        row: Int, _ unit: Int
    ) {
        let scratch = shared.scratch[unit].row
        shared.kernels.functions.pointee.rms_norm(
            x, operation.norm.values, shared.model.normEpsilon, Int32(shared.model.hiddenSize),
            scratch)
        out.store(scratch, row: row, format: operation.format, kernels: shared.kernels)
    }

    private func ropeAppend(_ row: Int, _ cache: nk_kv_layer) {
        let model = shared.model
        let place = input.rows[row]
        let position = Int(place.position)
        let query = shared.activations.qkv.row(row)
        let key = query + model.headCount * model.headDimension
        let block = shared.tables.blockTable(Int(place.slot))[position / KVArena.blockSize]
        nk_kv_ask(
            Int32(model.kvHeadCount), Int32(model.headDimension), cache, block, place.position)
        // Queries and keys stand side by side: one call turns both.
        shared.kernels.functions.pointee.rope(
            query, Int32(model.headCount + model.kvHeadCount), Int32(model.headDimension),
            Int32(model.rotaryDimension), shared.rotary.cosines(position),
            shared.rotary.sines(position), model.hasInterleavedRope)
        if cache.type == NK_KV_INT8 { rotateHeads(query) }
        shared.kernels.functions.pointee.kv_append(
            key, key + model.kvHeadCount * model.headDimension, Int32(model.kvHeadCount),
            Int32(model.headDimension), cache, block, place.position)
    }

    /// Turns queries and keys alike, so that no product of theirs changes, and spreads the few large
    /// numbers of a key over its head, so that rounding to 8 bits costs less.
    private func rotateHeads(_ query: UnsafeMutablePointer<Float>) {
        let model = shared.model
        let run = min(Int(NK_MAX_ROTATION), model.headDimension & -model.headDimension)
        shared.kernels.functions.pointee.rotate(
            query, Int32((model.headCount + model.kvHeadCount) * model.headDimension), Int32(run),
            MatrixFormat.rotationSigns, 1 / Float(run).squareRoot())
    }

    private func quantizeAttended(_ row: Int, _ format: MatrixFormat) {
        let place = input.rows[row]
        let attended = shared.activations.attended.row(row)
        if place.recordCount > 0 {
            shared.kernels.functions.pointee.merge_items(
                records(Int(place.firstRecord)), place.recordCount, Int32(shared.model.headCount),
                Int32(shared.model.headDimension), attended)
        }
        shared.activations.attendedInput.store(
            attended, row: row, format: format, kernels: shared.kernels)
    }

    private func quantizeGated(_ row: Int, _ operation: ResolvedOperation) {
        let activated = shared.activations.activated
        if operation.gatedWidth != nil {
            activated.finish(row: row, format: operation.format)
        } else {
            activated.store(
                shared.activations.gated.row(row), row: row, format: operation.format,
                kernels: shared.kernels)
        }
    }

    // MARK: - Attention and sampling

    private func attend(_ nano: StepOperation, _ tile: Int, _ cache: nk_kv_layer) {
        let model = shared.model
        let piece = nano.pieces[tile / model.kvHeadCount]
        let head = tile % model.kvHeadCount
        let firstHead = head * model.groupHeadCount
        let offset = firstHead * model.headDimension
        let firstRow = Int(piece.firstRow)
        var attention = nk_attention_piece(
            query: UnsafePointer(shared.activations.qkv.row(firstRow) + offset),
            query_stride: shared.activations.qkv.stride,
            out: shared.activations.attended.row(firstRow) + offset,
            out_stride: shared.activations.attended.stride, rows: piece.rowCount,
            heads: Int32(model.groupHeadCount), head_dim: Int32(model.headDimension),
            kv_head: Int32(head), first_position: piece.firstPosition,
            block_table: UnsafePointer(shared.tables.blockTable(Int(piece.slot))),
            scale: 1 / Float(model.headDimension).squareRoot(), next_block_table: nil,
            next_kv_head: 0)
        // The unit's next tile, but for the last one of its way.
        let next = tile + 1
        if next < nano.tileCount {
            let nextPiece = nano.pieces[next / model.kvHeadCount]
            attention.next_block_table = UnsafePointer(
                shared.tables.blockTable(Int(nextPiece.slot)) + nextPiece.blocks.lowerBound)
            attention.next_kv_head = Int32(next % model.kvHeadCount)
        }
        guard let (item, record) = piece.item else {
            shared.kernels.functions.pointee.attention(attention, cache)
            return
        }
        shared.kernels.functions.pointee.attention_item(
            attention, cache, item, records(Int(record)) + firstHead * Int(NK_ATTENTION_RECORD))
    }

    private func records(_ first: Int) -> UnsafeMutablePointer<Float> {
        shared.activations.attentionRecords
            + first * shared.model.headCount * Int(NK_ATTENTION_RECORD)
    }

    private func sample(_ index: Int, _ head: PackedMatrix, _ unit: Int) {
        let row = input.logitRows[index]
        let history = shared.tables.history(Int(row.slot))
        let count = Int(row.position) + 1
        let sampling = shared.tables.sampling(Int(row.slot))
        let logits = shared.activations.logits.row(index)
        let alternatives = input.alternatives + index * Sampler.maxAlternatives
        if row.isScored {
            input.results[index] = shared.scratch[unit].sampler.score(
                history[count], alternativeCount: sampling.promptLogprobCount ?? 0,
                logits: logits, alternatives: alternatives)
            return
        }
        let result =
            row.wantsLogits
            ? shared.scratch[unit].sampler.sample(
                sampling, biases: shared.tables.biases(Int(row.slot), at: count), logits: logits,
                history: UnsafeBufferPointer(start: history, count: count),
                alternatives: alternatives)
            : RowResult(token: draw(index, head, sampling.uniform(at: count), unit))
        input.results[index] = result
        // The next step embeds it, launched perhaps already.
        history[count] = result.token
    }

    /// The likeliest token of a row, or one drawn at its temperature.
    ///
    /// The logits of the tile that is drawn are computed again, to the same bits: one row of 256
    /// columns costs less than keeping all columns of all rows.
    private func draw(
        _ logitRow: Int, _ head: PackedMatrix, _ random: Double, _ unit: Int
    ) -> Int32 {
        let count = shared.activations.logitTileCount
        let tiles = LogitTiles(
            tiles: UnsafeBufferPointer(
                start: shared.activations.logitTiles + logitRow * count, count: count),
            vocabularyCount: shared.model.vocabularyCount)
        return tiles.draw(
            inverseTemperature: input.logitRows[logitRow].inverseTemperature, random: random
        ) { column in
            let first = column * TileGeometry.LMHead.panelsPerTile
            let end = min(first + TileGeometry.LMHead.panelsPerTile, head.panelCount)
            computeHead(head, logitRow..<logitRow + 1, first..<end, unit)
            return UnsafePointer(shared.scratch[unit].tile)
        }
    }
}
