/// A tensor whose rows can be had as f32, wherever its values come from.
package protocol WeightTensor: Sendable {
    /// Rows: outputs of a matrix, tokens of an embedding.
    var rowCount: Int { get }
    /// Elements of a row, which are contiguous.
    var rowLength: Int { get }
    /// How ``copyRows(_:into:)`` stores elements.
    var type: GGUFTensorType { get }

    /// Writes the f32 values of `rows`, (rows.count, ``rowLength``), row after row.
    ///
    /// Any thread may call it. `rows` lies in 0..<rowCount and `out` holds exactly the rows'
    /// elements.
    func dequantizeRows(_ rows: Range<Int>, into out: UnsafeMutableBufferPointer<Float>)

    /// Writes `rows` as ``type`` stores them; `out` holds exactly the rows' bytes.
    func copyRows(_ rows: Range<Int>, into out: UnsafeMutableRawBufferPointer)

    /// Says that the values will not be read soon: they need not stay in memory.
    func letGo()
}

extension WeightTensor {
    package func letGo() {}

    /// Bytes of a row as ``type`` stores it.
    package var rowByteCount: Int { rowLength / type.blockLength * type.blockByteCount }

    /// All values as f32.
    func floats() -> [Float] {
        let count = rowCount * rowLength
        return [Float](unsafeUninitializedCapacity: count) { buffer, initializedCount in
            dequantizeRows(
                0..<rowCount, into: UnsafeMutableBufferPointer(rebasing: buffer[..<count]))
            initializedCount = count
        }
    }
}

/// The tensors of a model, by the names that GGUF files give them.
package protocol TensorSource: Sendable {
    /// What errors name: a file, or what stands for one.
    var path: String { get }

    /// Whether there is a tensor of that name.
    func hasTensor(named name: String) -> Bool

    /// The tensor, if its shape (contiguous dimension first) is as expected.
    ///
    /// - Throws: ``ModelLoadingError`` for a tensor that is missing or of another shape.
    func tensor(
        named name: String, shape: [Int]
    ) throws(ModelLoadingError) -> any WeightTensor
}

extension GGUFTensor: WeightTensor {
    package func letGo() { file.letGo(fileOffset..<fileOffset + byteCount) }

    package func copyRows(_ rows: Range<Int>, into out: UnsafeMutableRawBufferPointer) {
        precondition(
            rows.lowerBound >= 0 && rows.upperBound <= rowCount
                && out.count == rows.count * rowByteCount,
            "Rows must lie in the tensor and have exactly their room.")
        withUnsafeBytes { bytes in
            let start = rows.lowerBound * rowByteCount
            out.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[start..<start + out.count]))
        }
    }
}

extension GGUFFile: TensorSource {
    package func hasTensor(named name: String) -> Bool {
        tensorIfPresent(named: name) != nil
    }

    package func tensor(
        named name: String, shape: [Int]
    ) throws(ModelLoadingError) -> any WeightTensor {
        let tensor: GGUFTensor = try tensor(named: name)
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
