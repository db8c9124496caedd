import CNanoKernels
import NanoDevice
import NanoModel

/// What all steps share; read-only for the units but for the buffers, which the order of the
/// operations hands from one to the next.
struct StepResources {
    let model: ModelConfiguration
    let weights: ModelWeights
    let workModel: WorkModel
    /// The model graph's operations with all that their tiles need.
    let operations: UnsafePointer<ResolvedOperation>
    let kernels: Kernels
    let unitCount: Int
    let tables: SlotTables
    let activations: Activations
    let rotary: RotaryTable
    let scratch: UnsafePointer<UnitScratch>  // (unit)
}

/// An operation with its operands, as plain memory.
///
/// Which of them count follows from the kind.
struct ResolvedOperation {
    let kind: Operation.Kind
    /// Of matrix products; of others, the matrix that reads what they write.
    let matrix: PackedMatrix
    let norm: WeightVector
    let cache: nk_kv_layer
    /// What the operation's result is stored in, where a matrix product reads it next.
    let format: MatrixFormat
    /// Of gate-up and activation: ``TileGeometry/gatedWidth(_:feedForwardSize:unitCount:)``.
    let gatedWidth: Int?

    init(
        _ operation: Operation, _ model: ModelConfiguration, weights: ModelWeights,
        kvArena: KVArena, unitCount: Int
    ) {
        kind = operation.kind
        // Before the first layer and behind the last the LM head stands in where nothing counts.
        guard let index = operation.layer else {
            (matrix, norm) = (weights.lmHead, weights.finalNorm)
            cache = kvArena.layer(0)
            format = matrix.format
            gatedWidth = nil
            return
        }
        let layer = weights.layers[index]
        matrix =
            switch operation.kind {
            case .outputProjection, .attentionQuantization: layer.attentionOutput
            case .gateUpProjection, .feedForwardNorm: layer.gateUp
            case .downProjection, .activation: layer.down
            default: layer.qkv
            }
        norm = operation.kind == .feedForwardNorm ? layer.feedForwardNorm : layer.attentionNorm
        cache = kvArena.layer(index)
        format = operation.kind == .gateUpProjection ? layer.down.format : matrix.format
        gatedWidth = TileGeometry.gatedWidth(
            layer.down.format, feedForwardSize: model.feedForwardSize, unitCount: unitCount)
    }
}

/// A nano-operation with the extent of its work, as plain memory.
struct StepOperation {
    let kind: Operation.Kind
    /// Index among the resolved operations.
    let operation: Int
    /// Rows of the batch, or of the LM head.
    let firstRow: Int
    let rowCount: Int
    let tileCount: Int
    /// Of matrix products.
    let product: TileGeometry.Product
    /// Of attention.
    let pieces: UnsafeBufferPointer<StepInput.Piece>

    init(
        _ nano: NanoOperation, of input: StepInput, _ operations: UnsafePointer<ResolvedOperation>,
        kvHeadCount: Int, unitCount: Int
    ) {
        kind = nano.kind
        // Outside the layers all share one entry, so that graphs of fewer layers run as well.
        operation = nano.layer == nil ? 0 : nano.operation
        let rows = nano.kind.isOnLogitRows ? nano.logitRows : nano.rows
        (firstRow, rowCount) = (rows.lowerBound, rows.count)
        product = Self.product(nano.kind, rows.count, operations[operation], unitCount)
        switch nano.kind {
        case .prefillAttention, .decodeAttention:
            pieces = input.pieces(of: nano.kind, in: nano.rows)
        default: pieces = UnsafeBufferPointer(start: nil, count: 0)
        }
        tileCount =
            switch nano.kind {
            case .prefillAttention, .decodeAttention: pieces.count * kvHeadCount
            case .qkvProjection, .outputProjection, .gateUpProjection, .downProjection, .lmHead:
                product.tileCount
            case .sampling: rows.count
            default: TileGeometry.rowTileCount(rows.count)
            }
    }

    private static func product(
        _ kind: Operation.Kind, _ rowCount: Int, _ operation: ResolvedOperation, _ unitCount: Int
    ) -> TileGeometry.Product {
        let panelCount = operation.matrix.panelCount
        if kind == .lmHead {
            return TileGeometry.Product(
                rowCount: rowCount, panelCount: panelCount,
                panelsPerTile: TileGeometry.LMHead.panelsPerTile, unitCount: 1)
        }
        if kind == .gateUpProjection, let width = operation.gatedWidth {
            return TileGeometry.Product(
                rowCount: rowCount, panelCount: panelCount,
                panelsPerTile: width / TileGeometry.gatedPanelWidth, unitCount: unitCount)
        }
        return TileGeometry.Product(
            rowCount: rowCount, panelCount: panelCount,
            tilesPerUnit: TileGeometry.productTilesPerUnit, unitCount: unitCount)
    }

    /// The rows of a tile of a product.
    func rows(_ tile: Int) -> Range<Int> {
        let rows = product.rows(tile)
        return firstRow + rows.lowerBound..<firstRow + rows.upperBound
    }
}

/// Memory that one execution unit has to itself.
struct UnitScratch {
    let row: UnsafeMutablePointer<Float>  // (hidden)
    /// A tile of the LM head's result, or of gate-up's.
    let tile: UnsafeMutablePointer<Float>
    let sampler: Sampler

    private static let tileCount =
        TileGeometry.productRowsPerTile * TileGeometry.LMHead.columnsPerTile

    static func byteCount(_ model: ModelConfiguration) -> Int {
        MemoryArena.byteCount(Float.self, model.hiddenSize)
            + MemoryArena.byteCount(Float.self, tileCount)
            + Sampler.byteCount(vocabularyCount: model.vocabularyCount)
    }

    init(_ model: ModelConfiguration, kernels: Kernels, arena: MemoryArena) {
        row = arena.cutFloor(Float.self, model.hiddenSize)
        tile = arena.cutFloor(Float.self, Self.tileCount)
        sampler = Sampler(
            vocabularyCount: model.vocabularyCount, kernels: kernels, arena: arena)
    }
}
