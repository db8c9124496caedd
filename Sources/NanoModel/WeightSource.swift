/// A matrix as the operations use it: rows of one or several tensors of the file, stacked.
///
/// Query, key and value become one matrix, gate and up another: one pass over the activations.
package struct WeightSource: Sendable {
    package let tensors: [GGUFTensor]
    /// F32 vectors, one a tensor, or none.
    package let biases: [GGUFTensor]
    package let inputs: Int
    package let outputs: Int

    /// Finds the tensors and checks their shapes.
    ///
    /// - Parameters:
    ///   - file: The model's file.
    ///   - inputs: Inputs of the matrix: the row length of every tensor.
    ///   - parts: Names, without ".weight", and outputs of the tensors, in the order of stacking.
    /// - Throws: ``ModelLoadingError`` for a tensor that is missing or of another shape.
    init(
        _ file: GGUFFile, inputs: Int, parts: [(name: String, outputs: Int)]
    ) throws(ModelLoadingError) {
        var tensors: [GGUFTensor] = []
        var biases: [GGUFTensor] = []
        for (name, outputs) in parts {
            tensors.append(
                try file.tensor(named: name + ".weight", shape: [inputs, outputs]))
            if file.tensorIfPresent(named: name + ".bias") != nil {
                biases.append(try file.tensor(named: name + ".bias", shape: [outputs]))
            }
        }
        guard biases.isEmpty || biases.count == parts.count else {
            throw ModelLoadingError(
                file: file.path, field: parts.map { $0.name + ".bias" }.joined(separator: ", "),
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

extension GGUFFile {
    /// The tensor, if its shape (contiguous dimension first) is as expected.
    func tensor(named name: String, shape: [Int]) throws(ModelLoadingError) -> GGUFTensor {
        let tensor = try tensor(named: name)
        // Trailing dimensions of 1 change nothing.
        var given = tensor.shape
        while given.count > shape.count, given.last == 1 { given.removeLast() }
        guard given == shape else {
            throw ModelLoadingError(
                file: path, field: "tensor \"\(name)\".dimensions", byteOffset: tensor.fileOffset,
                limit: "\(shape)", given: "\(tensor.shape)",
                "the tensor does not fit the model's metadata")
        }
        return tensor
    }
}

extension GGUFTensor {
    /// All values as f32.
    func floats() -> [Float] {
        [Float](unsafeUninitializedCapacity: elementCount) { buffer, count in
            dequantizeRows(
                0..<rowCount, into: UnsafeMutableBufferPointer(rebasing: buffer[..<elementCount]))
            count = elementCount
        }
    }
}
