package import NanoDevice

/// The weights of one decoder layer.
package struct LayerWeights: Sendable {
    package let attentionNorm: [Float]  // (hidden)
    package let qkv: PackedMatrix  // (query | key | value heads x head dimension, hidden)
    package let attentionOutput: PackedMatrix  // (hidden, query heads x head dimension)
    package let feedForwardNorm: [Float]  // (hidden)
    package let gateUp: PackedMatrix  // (gate | up: 2 x feed-forward, hidden)
    package let down: PackedMatrix  // (hidden, feed-forward)
}

/// All weights of a model in memory, packed for one precision.
package struct ModelWeights: Sendable {
    package let embedding: EmbeddingTable  // (vocabulary, hidden)
    package let layers: [LayerWeights]
    package let finalNorm: [Float]  // (hidden)
    package let lmHead: PackedMatrix  // (vocabulary, hidden)
    /// Each frequency of RoPE is divided by its factor (llama3 scaling); empty: none.
    package let ropeFactors: [Float]  // (rotary dimension / 2)
    package let arena: MemoryArena
}

/// The weights of a model, found and checked but not loaded: knows how many bytes they will take.
package struct WeightPlan: Sendable {
    package let configuration: ModelConfiguration
    package let format: MatrixFormat
    private let layers: [LayerSources]
    private let embedding: any WeightTensor
    private let lmHead: WeightSource
    private let finalNorm: any WeightTensor
    private let ropeFactors: (any WeightTensor)?

    private struct LayerSources: Sendable {
        let attentionNorm: any WeightTensor
        let qkv: WeightSource
        let attentionOutput: WeightSource
        let feedForwardNorm: any WeightTensor
        let gateUp: WeightSource
        let down: WeightSource

        var matrices: [WeightSource] { [qkv, attentionOutput, gateUp, down] }
    }

    /// Finds every tensor of the model.
    ///
    /// - Throws: ``ModelLoadingError`` for a tensor that is missing or of another shape.
    package init(
        _ source: any TensorSource, configuration: ModelConfiguration, format: MatrixFormat
    ) throws(ModelLoadingError) {
        self.configuration = configuration
        self.format = format
        let hidden = configuration.hiddenSize
        embedding = try source.tensor(
            named: "token_embd.weight", shape: [hidden, configuration.vocabularyCount])
        var layers: [LayerSources] = []
        for index in 0..<configuration.layerCount {
            layers.append(try Self.layer(index, source, configuration))
        }
        self.layers = layers
        finalNorm = try source.tensor(named: "output_norm.weight", shape: [hidden])
        // Without a matrix of its own the LM head is the embedding.
        let head = source.hasTensor(named: "output.weight") ? "output" : "token_embd"
        lmHead = try WeightSource(
            source, inputs: hidden, parts: [(head, configuration.vocabularyCount)])
        ropeFactors =
            source.hasTensor(named: "rope_freqs.weight")
            ? try source.tensor(
                named: "rope_freqs.weight", shape: [configuration.rotaryDimension / 2])
            : nil
    }

    private static func layer(
        _ index: Int, _ source: any TensorSource, _ model: ModelConfiguration
    ) throws(ModelLoadingError) -> LayerSources {
        let name = { (part: String) in "blk.\(index).\(part)" }
        let hidden = model.hiddenSize
        let queries = model.headCount * model.headDimension
        let keys = model.kvHeadCount * model.headDimension
        let width = model.feedForwardSize
        return LayerSources(
            attentionNorm: try source.tensor(named: name("attn_norm.weight"), shape: [hidden]),
            qkv: try WeightSource(
                source, inputs: hidden,
                parts: [
                    (name("attn_q"), queries), (name("attn_k"), keys), (name("attn_v"), keys),
                ]),
            attentionOutput: try WeightSource(
                source, inputs: queries, parts: [(name("attn_output"), hidden)]),
            feedForwardNorm: try source.tensor(named: name("ffn_norm.weight"), shape: [hidden]),
            gateUp: try WeightSource(
                source, inputs: hidden, parts: [(name("ffn_gate"), width), (name("ffn_up"), width)]),
            down: try WeightSource(source, inputs: width, parts: [(name("ffn_down"), hidden)]))
    }

    private var matrices: [WeightSource] { layers.flatMap(\.matrices) + [lmHead] }

    /// Bytes of the arena that ``load(into:units:progress:)`` fills.
    package var byteCount: Int {
        let packed = matrices.reduce(0) { sum, source in
            sum
                + PackedMatrix.byteCount(
                    inputs: source.inputs, outputs: source.outputs, format: format,
                    hasBias: !source.biases.isEmpty)
        }
        return packed + EmbeddingTable.byteCount(embedding)
    }

    /// Dequantises and packs every matrix, in parallel on the execution units.
    ///
    /// Everything is copied: the file is not read any more afterwards.
    ///
    /// - Parameters:
    ///   - arena: Room of ``byteCount`` bytes.
    ///   - units: Run the packing.
    ///   - kernels: Rotate the weights.
    ///   - progress: Called from the calling thread with 0...1.
    /// - Returns: The weights; they keep the arena alive.
    package func load(
        into arena: MemoryArena, units: ExecutionUnits, kernels: Kernels,
        progress: (Double) -> Void
    ) -> ModelWeights {
        let embedding = EmbeddingTable(embedding, arena: arena, units: units)
        let packed = matrices.map { source in
            PackedMatrix(
                inputs: source.inputs, outputs: source.outputs, format: format,
                hasBias: !source.biases.isEmpty, arena: arena)
        }
        let panelCount = packed.reduce(0) { $0 + $1.panelCount }
        var done = 0
        for (source, matrix) in zip(matrices, packed) {
            if let bias = source.bias() { bias.withUnsafeBufferPointer(matrix.setBias) }
            let job = PackingJob(source: source, matrix: matrix, kernels: kernels)
            withExtendedLifetime(job) { units.wait(for: units.submit(job)) }
            done += matrix.panelCount
            progress(Double(done) / Double(panelCount))
        }
        return ModelWeights(
            embedding: embedding,
            layers: layers.enumerated().map { index, layer in
                LayerWeights(
                    attentionNorm: layer.attentionNorm.floats(), qkv: packed[4 * index],
                    attentionOutput: packed[4 * index + 1],
                    feedForwardNorm: layer.feedForwardNorm.floats(),
                    gateUp: packed[4 * index + 2], down: packed[4 * index + 3])
            },
            finalNorm: finalNorm.floats(), lmHead: packed[packed.count - 1],
            ropeFactors: ropeFactors?.floats() ?? [], arena: arena)
    }
}

/// Packs one matrix; a tile is a run of panels.
private final class PackingJob: TiledProgram {
    private let source: WeightSource
    private let matrix: PackedMatrix
    private let kernels: Kernels
    private static let panelsPerTile = 8
    private static let panelWidth = 32

    init(source: WeightSource, matrix: PackedMatrix, kernels: Kernels) {
        self.source = source
        self.matrix = matrix
        self.kernels = kernels
    }

    var operationCount: Int { 1 }

    func tileCount(of operation: Int) -> Int {
        (matrix.panelCount + Self.panelsPerTile - 1) / Self.panelsPerTile
    }

    func dependencies(of operation: Int) -> [Int] { [] }

    func run(operation: Int, tile: Int, unit: Int) {
        withUnsafeTemporaryAllocation(
            of: Float.self, capacity: Self.panelWidth * matrix.inputs
        ) { scratch in
            let first = tile * Self.panelsPerTile
            for panel in first..<min(first + Self.panelsPerTile, matrix.panelCount) {
                let rows =
                    panel * Self.panelWidth..<min((panel + 1) * Self.panelWidth, matrix.outputs)
                let values = UnsafeMutableBufferPointer(
                    rebasing: scratch[..<(rows.count * matrix.inputs)])
                source.dequantize(rows, into: values)
                matrix.pack(panel: panel, weights: values, kernels: kernels)
            }
        }
    }
}
