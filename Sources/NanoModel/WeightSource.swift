/// A matrix as the operations use it: rows of one or several tensors, stacked.
///
/// Query, key and value become one matrix, gate and up another: one pass over the activations.
package struct WeightSource: Sendable {
    package let tensors: [any WeightTensor]
    /// F32 vectors, one a tensor, or none.
    package let biases: [any WeightTensor]
    package let inputs: Int
    package let outputs: Int

    /// Finds the tensors and checks their shapes.
    ///
    /// - Parameters:
    ///   - source: The model's tensors.
    ///   - inputs: Inputs of the matrix: the row length of every tensor.
    ///   - parts: Names, without ".weight", and outputs of the tensors, in the order of stacking.
    /// - Throws: ``ModelLoadingError`` for a tensor that is missing or of another shape.
    init(
        _ source: any TensorSource, inputs: Int, parts: [(name: String, outputs: Int)]
    ) throws(ModelLoadingError) {
        var tensors: [any WeightTensor] = []
        var biases: [any WeightTensor] = []
        for (name, outputs) in parts {
            tensors.append(
                try source.tensor(named: name + ".weight", shape: [inputs, outputs]))
            if source.hasTensor(named: name + ".bias") {
                biases.append(try source.tensor(named: name + ".bias", shape: [outputs]))
            }
        }
        guard biases.isEmpty || biases.count == parts.count else {
            throw ModelLoadingError(
                file: source.path, field: parts.map { $0.name + ".bias" }.joined(separator: ", "),
                limit: "a bias for all of them or for none", given: "\(biases.count)",
                "some of the biases are missing")
        }
        self.tensors = tensors
        self.biases = biases
        self.inputs = inputs
        outputs = parts.reduce(0) { $0 + $1.outputs }
    }

    /// Writes rows (outputs) of the stacked matrix as f32, row after row.
    func dequantize(_ rows: Range<Int>, into out: UnsafeMutableBufferPointer<Float>) {
        var first = 0
        for tensor in tensors {
            let part = rows.clamped(to: first..<first + tensor.rowCount)
            if !part.isEmpty {
                let start = (part.lowerBound - rows.lowerBound) * inputs
                tensor.dequantizeRows(
                    part.lowerBound - first..<part.upperBound - first,
                    into: UnsafeMutableBufferPointer(
                        rebasing: out[start..<start + part.count * inputs]))
            }
            first += tensor.rowCount
        }
    }

    /// The stacked bias; nil without one.
    func bias() -> [Float]? {
        biases.isEmpty ? nil : biases.flatMap { $0.floats() }
    }
}
