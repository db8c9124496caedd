package import NanoDevice

/// The weights of one decoder layer.
package struct LayerWeights: Sendable {
    package let attentionNorm: WeightVector  // (hidden)
    package let qkv: PackedMatrix  // (query | key | value heads x head dimension, hidden)
    package let attentionOutput: PackedMatrix  // (hidden, query heads x head dimension)
    package let feedForwardNorm: WeightVector  // (hidden)
    package let gateUp: PackedMatrix  // (16 x gate, 16 x up, ...: 2 x feed-forward, hidden)
    package let down: PackedMatrix  // (hidden, feed-forward)
}

/// The weights of a norm, f32, in the arena of all weights.
package struct WeightVector: Sendable {
    package nonisolated(unsafe) let values: UnsafePointer<Float>

    init(_ tensor: any WeightTensor, arena: MemoryArena) {
        let room = arena.cut(Float.self, count: tensor.rowCount * tensor.rowLength)
        guard let base = room.baseAddress else {
            preconditionFailure("A norm must have weights.")
        }
        tensor.dequantizeRows(0..<tensor.rowCount, into: room)
        values = UnsafePointer(base)
    }

    static func byteCount(_ tensor: any WeightTensor) -> Int {
        MemoryArena.byteCount(Float.self, tensor.rowCount * tensor.rowLength)
    }
}

/// All weights of a model in memory, packed for one precision.
package struct ModelWeights: Sendable {
    package let embedding: EmbeddingTable  // (vocabulary, hidden)
    package let layers: [LayerWeights]
    package let finalNorm: WeightVector  // (hidden)
    package let lmHead: PackedMatrix  // (vocabulary, hidden)
    /// The formats that the matrices have, and how many have each.
    package var formatCounts: [MatrixFormat: Int] {
        let matrices = layers.flatMap { [$0.qkv, $0.attentionOutput, $0.gateUp, $0.down] }
        return (matrices + [lmHead]).reduce(into: [:]) { $0[$1.format, default: 0] += 1 }
    }
    /// Each frequency of RoPE is divided by its factor (llama3 scaling); empty: none.
    package let ropeFactors: [Float]  // (rotary dimension / 2)
    package let arena: MemoryArena
}

/// The weights of a model, found and checked but not loaded: knows how many bytes they will take.
package struct WeightPlan: Sendable {
    package let configuration: ModelConfiguration
    /// The formats that each matrix chooses from, the coarsest first.
    package let formats: [MatrixFormat]
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
    /// - Parameters:
    ///   - source: The model's tensors.
    ///   - configuration: Its shape.
    ///   - formats: What each matrix is stored in: the first one whose rounding keeps
    ///     ``FormatChoice/errorBound``, or else the last one.
    /// - Throws: ``ModelLoadingError`` for a tensor that is missing or of another shape.
    package init(
        _ source: any TensorSource, configuration: ModelConfiguration, formats: [MatrixFormat]
    ) throws(ModelLoadingError) {
        precondition(!formats.isEmpty, "There must be a format.")
        self.configuration = configuration
        self.formats = formats
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
                source, inputs: hidden,
                parts: [(name("ffn_gate"), width), (name("ffn_up"), width)], arrangement: .gated),
            down: try WeightSource(source, inputs: width, parts: [(name("ffn_down"), hidden)]))
    }

    private var matrices: [WeightSource] { layers.flatMap(\.matrices) + [lmHead] }

    /// Bytes of the arena that ``load(into:units:progress:)`` fills.
    ///
    /// Room for the finest format, which takes most.
    package var byteCount: Int {
        let packed = matrices.reduce(0) { sum, source in
            sum
                + PackedMatrix.byteCount(
                    inputs: source.inputs, outputs: source.outputs,
                    format: formats[formats.count - 1],
                    hasBias: !source.biases.isEmpty)
        }
        let norms = layers.flatMap { [$0.attentionNorm, $0.feedForwardNorm] } + [finalNorm]
        return norms.reduce(packed + EmbeddingTable.byteCount(embedding)) {
            $0 + WeightVector.byteCount($1)
        }
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
        let table = EmbeddingTable(embedding, arena: arena, units: units)
        embedding.letGo()
        let panelCount = matrices.reduce(0) { $0 + ($1.outputs + 31) / 32 }
        var packed: [PackedMatrix] = []
        var done = 0
        for source in matrices {
            let matrix = PackedMatrix(
                inputs: source.inputs, outputs: source.outputs,
                format: FormatChoice(source, formats, kernels).run(on: units),
                hasBias: !source.biases.isEmpty, arena: arena)
            if let bias = source.bias() { bias.withUnsafeBufferPointer(matrix.setBias) }
            let job = PackingJob(source: source, matrix: matrix, kernels: kernels)
            withExtendedLifetime(job) { units.wait(for: units.submit(job)) }
            source.letGo()
            packed.append(matrix)
            done += matrix.panelCount
            progress(Double(done) / Double(panelCount))
        }
        return ModelWeights(
            embedding: table,
            layers: layers.enumerated().map { index, layer in
                LayerWeights(
                    attentionNorm: WeightVector(layer.attentionNorm, arena: arena),
                    qkv: packed[4 * index],
                    attentionOutput: packed[4 * index + 1],
                    feedForwardNorm: WeightVector(layer.feedForwardNorm, arena: arena),
                    gateUp: packed[4 * index + 2], down: packed[4 * index + 3])
            },
            finalNorm: WeightVector(finalNorm, arena: arena), lmHead: packed[packed.count - 1],
            ropeFactors: ropeFactors?.floats() ?? [], arena: arena)
    }
}
