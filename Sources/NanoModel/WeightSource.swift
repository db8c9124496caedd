/// A matrix as the operations use it: rows of one or several tensors.
///
/// Query, key and value become one matrix, gate and up another: one pass over the activations.
package struct WeightSource: Sendable {
    package let tensors: [any WeightTensor]
    /// F32 vectors, one a tensor, or none.
    package let biases: [any WeightTensor]
    package let inputs: Int
    package let outputs: Int
    private let arrangement: Arrangement

    /// How the rows of the tensors follow each other.
    package enum Arrangement: Sendable {
        /// One tensor behind the other.
        case stacked
        /// 16 rows of one tensor, then the same 16 of the other, as the kernels' SILU_MULTIPLY
        /// wants gates and what they gate; rows of zeros fill up the last 16.
        case gated
    }

    private static let gatedRun = 16

    /// Finds the tensors and checks their shapes.
    ///
    /// - Parameters:
    ///   - source: The model's tensors.
    ///   - inputs: Inputs of the matrix: the row length of every tensor.
    ///   - parts: Names, without ".weight", and outputs of the tensors, in their order.
    ///   - arrangement: How their rows follow each other; `gated` takes two tensors of a size.
    /// - Throws: ``ModelLoadingError`` for a tensor that is missing or of another shape.
    init(
        _ source: any TensorSource, inputs: Int, parts: [(name: String, outputs: Int)],
        arrangement: Arrangement = .stacked
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
        self.arrangement = arrangement
        let run =
            switch arrangement {
            case .stacked: 1
            case .gated: Self.gatedRun
            }
        outputs = parts.reduce(0) { $0 + ($1.outputs + run - 1) / run * run }
    }

    /// Writes rows (outputs) of the matrix as f32, row after row.
    func dequantize(_ rows: Range<Int>, into out: UnsafeMutableBufferPointer<Float>) {
        switch arrangement {
        case .stacked: dequantizeStacked(rows, into: out)
        case .gated: dequantizeGated(rows, into: out)
        }
    }

    private func dequantizeStacked(_ rows: Range<Int>, into out: UnsafeMutableBufferPointer<Float>)
    {
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

    private func dequantizeGated(_ rows: Range<Int>, into out: UnsafeMutableBufferPointer<Float>) {
        for run in stride(from: rows.lowerBound, to: rows.upperBound, by: Self.gatedRun) {
            precondition(run % Self.gatedRun == 0, "Gated rows are read in whole runs.")
            let target = UnsafeMutableBufferPointer(
                rebasing: out[
                    (run - rows.lowerBound)
                        * inputs..<min(
                            (run + Self.gatedRun - rows.lowerBound) * inputs, out.count)])
            let tensor = tensors[run / Self.gatedRun % 2]
            let first = run / Self.gatedRun / 2 * Self.gatedRun
            let known = first..<min(first + Self.gatedRun, tensor.rowCount)
            let size = known.count * inputs
            tensor.dequantizeRows(
                known, into: UnsafeMutableBufferPointer(rebasing: target[..<size]))
            target[size...].update(repeating: 0)
        }
    }

    func letGo() {
        for tensor in tensors { tensor.letGo() }
    }

    /// The bias (outputs); nil without one.
    func bias() -> [Float]? {
        guard !biases.isEmpty else { return nil }
        let parts = biases.map { $0.floats() }
        switch arrangement {
        case .stacked: return parts.flatMap { $0 }
        case .gated:
            return (0..<outputs).map { row in
                let index = row / (2 * Self.gatedRun) * Self.gatedRun + row % Self.gatedRun
                let part = parts[row / Self.gatedRun % 2]
                return index < part.count ? part[index] : 0
            }
        }
    }
}
