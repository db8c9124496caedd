import CNanoKernels
import NanoDevice
import NanoModel

/// The buffers between operations, sized once for the largest step and reused by every layer.
struct Activations {
    let residual: FloatRows  // (row, hidden)
    let normed: ActivationRows  // (row, hidden): input of qkv and of gate-up
    let qkv: FloatRows  // (row, query | key | value)
    let attended: FloatRows  // (row, query heads x head dimension)
    let attentionRecords: UnsafeMutablePointer<Float>  // (record, query heads, NK_ATTENTION_RECORD)
    let attendedInput: ActivationRows  // as attended, input of the output projection
    let gated: FloatRows  // (row, feed-forward): silu(gate) x up
    let activated: ActivationRows  // (row, feed-forward): input of down
    let finalNormed: ActivationRows  // (logit row, hidden): input of the LM head
    let logits: FloatRows  // (logit row, vocabulary), of the rows that ask for them
    let logitTiles: UnsafeMutablePointer<LogitTile>  // (logit row, column tile), of the others
    let logitTileCount: Int

    /// The float buffers in the order in which they are cut: (rows, width).
    private static func floats(
        _ model: ModelConfiguration, _ limits: Scheduler.Limits
    ) -> [(rows: Int, width: Int)] {
        let rows = limits.batchedTokens
        return [
            (rows, model.hiddenSize), (rows, model.qkvSize),
            (rows, model.headCount * model.headDimension),
            (rows, model.feedForwardSize), (limits.logitRows, model.vocabularyCount),
        ]
    }

    /// The same for the inputs of matrix products.
    private static func inputs(
        _ model: ModelConfiguration, _ limits: Scheduler.Limits
    ) -> [(rows: Int, width: Int)] {
        let rows = limits.batchedTokens
        return [
            (rows, model.hiddenSize), (rows, model.headCount * model.headDimension),
            (rows, model.feedForwardSize), (limits.logitRows, model.hiddenSize),
        ]
    }

    private static func recordNumbers(_ model: ModelConfiguration) -> Int {
        StepInput.recordCount * model.headCount * Int(NK_ATTENTION_RECORD)
    }

    static func byteCount(
        _ model: ModelConfiguration, _ limits: Scheduler.Limits, _ format: MatrixFormat
    ) -> Int {
        let floats = floats(model, limits).reduce(0) {
            $0 + FloatRows.byteCount(rows: $1.rows, width: $1.width)
        }
        let inputs = inputs(model, limits).reduce(0) {
            $0 + ActivationRows.byteCount(capacity: $1.rows, width: $1.width, format: format)
        }
        return floats + inputs + MemoryArena.byteCount(Float.self, recordNumbers(model))
            + MemoryArena.byteCount(
                LogitTile.self,
                limits.logitRows * LogitTiles.count(vocabularyCount: model.vocabularyCount))
    }

    init(
        _ model: ModelConfiguration, _ limits: Scheduler.Limits, _ format: MatrixFormat,
        arena: MemoryArena
    ) {
        let floats = Self.floats(model, limits).map {
            FloatRows(rows: $0.rows, width: $0.width, arena: arena)
        }
        let inputs = Self.inputs(model, limits).map {
            ActivationRows(capacity: $0.rows, width: $0.width, format: format, arena: arena)
        }
        (residual, qkv, attended) = (floats[0], floats[1], floats[2])
        (gated, logits) = (floats[3], floats[4])
        (normed, attendedInput) = (inputs[0], inputs[1])
        (activated, finalNormed) = (inputs[2], inputs[3])
        attentionRecords = arena.cutFloor(Float.self, Self.recordNumbers(model))
        logitTileCount = LogitTiles.count(vocabularyCount: model.vocabularyCount)
        logitTiles = arena.cutFloor(LogitTile.self, limits.logitRows * logitTileCount)
    }
}

/// f32 rows with a stride of whole panels, as matrix products write them.
struct FloatRows {
    let stride: Int
    private let base: UnsafeMutablePointer<Float>

    static func stride(width: Int) -> Int { (width + 31) & ~31 }

    static func byteCount(rows: Int, width: Int) -> Int {
        MemoryArena.byteCount(Float.self, rows * stride(width: width))
    }

    init(rows: Int, width: Int, arena: MemoryArena) {
        stride = Self.stride(width: width)
        base = arena.cutFloor(Float.self, rows * stride)
    }

    func row(_ index: Int) -> UnsafeMutablePointer<Float> { base + index * stride }
}
