import NanoDevice
import NanoModel

/// The buffers between operations, sized once for the largest step and reused by every layer.
struct Activations {
    let residual: FloatRows  // (row, hidden)
    let normed: ActivationRows  // (row, hidden): input of qkv and of gate-up
    let qkv: FloatRows  // (row, query | key | value)
    let attended: FloatRows  // (row, query heads x head dimension)
    let attendedInput: ActivationRows  // the same, input of the output projection
    let gateUp: FloatRows  // (row, gate | up)
    let activated: ActivationRows  // (row, feed-forward): input of down
    let finalNormed: ActivationRows  // (logit row, hidden): input of the LM head
    let logits: FloatRows  // (logit row, vocabulary)

    private static func widths(_ model: ModelConfiguration) -> (Int, Int, Int, Int, Int) {
        (
            model.hiddenSize, model.qkvSize, model.headCount * model.headDimension,
            2 * model.feedForwardSize, model.vocabularyCount
        )
    }

    static func byteCount(
        _ model: ModelConfiguration, _ limits: Scheduler.Limits, _ format: MatrixFormat
    ) -> Int {
        let (hidden, qkv, attended, gateUp, vocabulary) = widths(model)
        let rows = limits.batchedTokens
        let floats = [hidden, qkv, attended, gateUp].reduce(0) {
            $0 + FloatRows.byteCount(rows: rows, width: $1)
        }
        let inputs = [hidden, attended, model.feedForwardSize].reduce(0) {
            $0 + ActivationRows.byteCount(capacity: rows, width: $1, format: format)
        }
        return floats + inputs
            + ActivationRows.byteCount(capacity: limits.logitRows, width: hidden, format: format)
            + FloatRows.byteCount(rows: limits.logitRows, width: vocabulary)
    }

    init(
        _ model: ModelConfiguration, _ limits: Scheduler.Limits, _ format: MatrixFormat,
        arena: MemoryArena
    ) {
        let (hidden, qkv, attended, gateUp, vocabulary) = Self.widths(model)
        let rows = limits.batchedTokens
        let input = { (capacity: Int, width: Int) in
            ActivationRows(capacity: capacity, width: width, format: format, arena: arena)
        }
        residual = FloatRows(rows: rows, width: hidden, arena: arena)
        self.qkv = FloatRows(rows: rows, width: qkv, arena: arena)
        self.attended = FloatRows(rows: rows, width: attended, arena: arena)
        self.gateUp = FloatRows(rows: rows, width: gateUp, arena: arena)
        normed = input(rows, hidden)
        attendedInput = input(rows, attended)
        activated = input(rows, model.feedForwardSize)
        finalNormed = input(limits.logitRows, hidden)
        logits = FloatRows(rows: limits.logitRows, width: vocabulary, arena: arena)
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
