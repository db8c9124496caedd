import CNanoKernels
import NanoDevice
import NanoModel

/// One step as a tiled program: which kernels run on which part of which buffer.
final class Step: TiledProgram {
    private let shared: StepResources
    private var input: StepInput

    init(_ shared: StepResources, input: StepInput) {
        self.shared = shared
        self.input = input
    }

    /// Lays out the batch; returns the first result of each item.
    func prepare(_ batch: Batch) -> [Int] {
        input.fill(batch, tables: shared.tables)
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

    var operationCount: Int { shared.graph.operations.count }

    func dependencies(of operation: Int) -> [Int] {
        shared.graph.operations[operation].dependencies
    }

    func tileCount(of operation: Int) -> Int {
        let operation = shared.graph.operations[operation]
        switch operation.kind {
        case .embedding, .attentionNorm, .ropeAppend, .attentionQuantization, .feedForwardNorm,
            .activation:
            return TileGeometry.rowTileCount(input.rowCount)
        case .qkvProjection, .outputProjection, .gateUpProjection, .downProjection, .lmHead:
            return product(operation).tileCount
        case .prefillAttention:
            return input.prefillPieceCount * shared.model.kvHeadCount
        case .decodeAttention:
            return input.decodePieceCount * shared.model.kvHeadCount
        case .finalNorm:
            return TileGeometry.rowTileCount(input.logitRowCount)
        case .sampling:
            return input.logitRowCount
        }
    }

    func run(operation index: Int, tile: Int, unit: Int) {
        let operation = shared.graph.operations[index]
        switch operation.kind {
        case .embedding: forRows(tile) { embed($0) }
        case .attentionNorm: forRows(tile) { norm($0, layer(operation).attentionNorm, unit) }
        case .feedForwardNorm: forRows(tile) { norm($0, layer(operation).feedForwardNorm, unit) }
        case .ropeAppend: forRows(tile) { ropeAppend($0, operation) }
        case .attentionQuantization: forRows(tile) { quantizeAttended($0) }
        case .activation: forRows(tile) { activate($0) }
        case .prefillAttention: attend(input.prefillPieces, tile, operation)
        case .decodeAttention: attend(input.decodePieces, tile, operation)
        case .qkvProjection, .outputProjection, .gateUpProjection, .downProjection, .lmHead:
            multiply(operation, tile)
        case .finalNorm:
            for row in TileGeometry.rows(tile, of: input.logitRowCount) { finalNorm(row, unit) }
        case .sampling: sample(tile, unit)
        }
    }

    // MARK: - Matrix products

    private func product(_ operation: Operation) -> TileGeometry.Product {
        TileGeometry.Product(
            rowCount: operation.kind == .lmHead ? input.logitRowCount : input.rowCount,
            panelCount: matrix(operation).panelCount, unitCount: shared.unitCount)
    }

    private func matrix(_ operation: Operation) -> PackedMatrix {
        switch operation.kind {
        case .qkvProjection: layer(operation).qkv
        case .outputProjection: layer(operation).attentionOutput
        case .gateUpProjection: layer(operation).gateUp
        case .downProjection: layer(operation).down
        case .lmHead: shared.weights.lmHead
        default: preconditionFailure("\(operation.kind) is no matrix product.")
        }
    }

    private func multiply(_ operation: Operation, _ tile: Int) {
        let activations = shared.activations
        let (rows, out, epilogue): (ActivationRows, FloatRows, nk_epilogue) =
            switch operation.kind {
            case .qkvProjection: (activations.normed, activations.qkv, NK_STORE)
            case .outputProjection: (activations.attendedInput, activations.residual, NK_ADD)
            case .gateUpProjection: (activations.normed, activations.gateUp, NK_STORE)
            case .downProjection: (activations.activated, activations.residual, NK_ADD)
            case .lmHead: (activations.finalNormed, activations.logits, NK_STORE)
            default: preconditionFailure("\(operation.kind) is no matrix product.")
            }
        let product = product(operation)
        matrix(operation).multiply(
            rows, rows: product.rows(tile), panels: product.panels(tile), into: out.row(0),
            stride: out.stride, epilogue: epilogue, kernels: shared.kernels)
    }

    private func layer(_ operation: Operation) -> LayerWeights {
        guard let layer = operation.layer else {
            preconditionFailure("\(operation.kind) belongs to no layer.")
        }
        return shared.weights.layers[layer]
    }

    // MARK: - Row-wise operations

    private func forRows(_ tile: Int, _ body: (Int) -> Void) {
        for row in TileGeometry.rows(tile, of: input.rowCount) { body(row) }
    }

    private func embed(_ row: Int) {
        let place = input.rows[row]
        let token = shared.tables.history(Int(place.slot))[Int(place.position)]
        shared.weights.embedding.copyRow(Int(token), to: shared.activations.residual.row(row))
    }

    private func norm(_ row: Int, _ weight: [Float], _ unit: Int) {
        normalize(
            shared.activations.residual.row(row), weight, into: shared.activations.normed,
            row: row, unit)
    }

    private func finalNorm(_ logitRow: Int, _ unit: Int) {
        let row = Int(input.logitRows[logitRow].row)
        normalize(
            shared.activations.residual.row(row), shared.weights.finalNorm,
            into: shared.activations.finalNormed, row: logitRow, unit)
    }

    private func normalize(
        _ x: UnsafePointer<Float>, _ weight: [Float], into out: ActivationRows, row: Int,
        _ unit: Int
    ) {
        let scratch = shared.scratch[unit].row
        shared.kernels.functions.rms_norm(
            x, weight, shared.model.normEpsilon, Int32(shared.model.hiddenSize), scratch)
        out.store(scratch, row: row, kernels: shared.kernels)
    }

    private func ropeAppend(_ row: Int, _ operation: Operation) {
        let model = shared.model
        let place = input.rows[row]
        let position = Int(place.position)
        let query = shared.activations.qkv.row(row)
        let key = query + model.headCount * model.headDimension
        // Queries and keys stand side by side: one call turns both.
        nk_rope(
            query, Int32(model.headCount + model.kvHeadCount), Int32(model.headDimension),
            Int32(model.rotaryDimension), shared.rotary.cosines(position),
            shared.rotary.sines(position), model.hasInterleavedRope)
        let block = shared.tables.blockTable(Int(place.slot))[position / KVArena.blockSize]
        nk_kv_append(
            key, key + model.kvHeadCount * model.headDimension, Int32(model.kvHeadCount),
            Int32(model.headDimension), cache(operation), block, place.position)
    }

    private func quantizeAttended(_ row: Int) {
        shared.activations.attendedInput.store(
            shared.activations.attended.row(row), row: row, kernels: shared.kernels)
    }

    private func activate(_ row: Int) {
        let width = shared.model.feedForwardSize
        let gate = shared.activations.gateUp.row(row)
        shared.kernels.functions.silu_multiply(gate, gate + width, Int32(width), gate)
        shared.activations.activated.store(gate, row: row, kernels: shared.kernels)
    }

    // MARK: - Attention and sampling

    private func cache(_ operation: Operation) -> nk_kv_layer {
        shared.kvArena.layer(operation.layer ?? 0)
    }

    private func attend(
        _ pieces: UnsafeMutablePointer<StepInput.Piece>, _ tile: Int, _ operation: Operation
    ) {
        let model = shared.model
        let piece = pieces[tile / model.kvHeadCount]
        let head = tile % model.kvHeadCount
        let offset = head * model.groupHeadCount * model.headDimension
        let firstRow = Int(piece.firstRow)
        let attention = nk_attention_piece(
            query: UnsafePointer(shared.activations.qkv.row(firstRow) + offset),
            query_stride: shared.activations.qkv.stride,
            out: shared.activations.attended.row(firstRow) + offset,
            out_stride: shared.activations.attended.stride, rows: piece.rowCount,
            heads: Int32(model.groupHeadCount), head_dim: Int32(model.headDimension),
            kv_head: Int32(head), first_position: piece.firstPosition,
            block_table: UnsafePointer(shared.tables.blockTable(Int(piece.slot))),
            scale: 1 / Float(model.headDimension).squareRoot())
        shared.kernels.functions.attention(attention, cache(operation))
    }

    private func sample(_ index: Int, _ unit: Int) {
        let row = input.logitRows[index]
        let logits = shared.activations.logits.row(index)
        let history = shared.tables.history(Int(row.slot))
        let count = Int(row.position) + 1
        let sampling = shared.tables.sampling(Int(row.slot))
        if row.isScored {
            // The prompt's last position has no next token to score.
            guard count < sampling.promptCount else { return }
            input.results[index] = shared.scratch[unit].sampler.score(
                history[count], logits: logits)
            return
        }
        let result = shared.scratch[unit].sampler.sample(
            sampling, logits: logits,
            history: UnsafeBufferPointer(start: history, count: count),
            alternatives: input.alternatives + index * Sampler.maxAlternatives)
        input.results[index] = result
        // The next step embeds it, launched perhaps already.
        history[count] = result.token
    }
}
