import CNanoKernels

/// The tensor types that can be read, by ggml's numbers and names.
package enum GGUFTensorType: UInt32, CaseIterable, Sendable, CustomStringConvertible {
    // The format's own spelling: Q4_0 without its underscore would read as forty.
    // swift-format-ignore: AlwaysUseLowerCamelCase
    case f32 = 0, f16 = 1, q4_0 = 2, q4_1 = 3, q5_0 = 6, q5_1 = 7, q8_0 = 8, q4_k = 12, q5_k = 13,
        q6_k = 14, bf16 = 30

    /// The format's name: "Q4_0".
    package var description: String {
        switch self {
        case .f32: "F32"
        case .f16: "F16"
        case .q4_0: "Q4_0"
        case .q4_1: "Q4_1"
        case .q5_0: "Q5_0"
        case .q5_1: "Q5_1"
        case .q8_0: "Q8_0"
        case .q4_k: "Q4_K"
        case .q5_k: "Q5_K"
        case .q6_k: "Q6_K"
        case .bf16: "BF16"
        }
    }

    /// The elements of one block; a row is a whole number of blocks.
    package var blockLength: Int { blockFormat.elements }
    /// The bytes of one block.
    package var blockByteCount: Int { blockFormat.bytes }

    private var blockFormat: (elements: Int, bytes: Int) {
        var elements: Int32 = 0
        var bytes: Int32 = 0
        nk_block_format(Int32(rawValue), &elements, &bytes)
        precondition(elements > 0 && bytes > 0, "the kernels know every tensor type")
        return (Int(elements), Int(bytes))
    }
}

/// One tensor of a GGUF file: its type, its shape and its bytes, which stay mapped as long as this
/// value lives.
package struct GGUFTensor: Sendable {
    /// The name, 1 to 64 bytes, unique in its file.
    package let name: String
    package let type: GGUFTensorType
    /// 1 to 4 dimensions in GGUF's order: the first is contiguous in memory.
    ///
    /// A matrix with K inputs and N outputs is [K, N]: N rows of K.
    package let shape: [Int]
    /// The size of the data: ``rowCount`` times ``rowByteCount``.
    package let byteCount: Int
    /// Where the data starts in the file; a multiple of the file's alignment.
    package let fileOffset: Int
    let file: MappedFile

    /// The elements of one row: the first dimension.
    package var rowLength: Int { shape[0] }
    /// The product of the other dimensions.
    package var rowCount: Int { shape.dropFirst().reduce(1, *) }
    package var rowByteCount: Int { rowLength / type.blockLength * type.blockByteCount }
    package var elementCount: Int { rowLength * rowCount }

    /// Calls `body` with the tensor's bytes, ``byteCount`` of them, valid during the call only.
    package func withUnsafeBytes<Result, Failure>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try file.withUnsafeBytes(in: fileOffset..<fileOffset + byteCount, body)
    }

    /// Writes the f32 values of `rows`, (rows.count, ``rowLength``), row after row.
    ///
    /// Any thread may call it. `rows` lies in 0..<rowCount and `out` holds exactly the rows'
    /// elements; both are checked.
    package func dequantizeRows(_ rows: Range<Int>, into out: UnsafeMutableBufferPointer<Float>) {
        precondition(
            rows.lowerBound >= 0 && rows.upperBound <= rowCount,
            "rows \(rows) of \(name), which has \(rowCount)")
        let count = rows.count * rowLength
        precondition(
            out.count == count,
            "room for \(out.count) elements is not \(rows.count) rows of \(rowLength) of \(name)")
        guard let destination = out.baseAddress, count > 0 else { return }
        let start = fileOffset + rows.lowerBound * rowByteCount
        let isSupported = file.withUnsafeBytes(in: start..<start + rows.count * rowByteCount) {
            nk_dequantize(Int32(type.rawValue), $0.baseAddress, Int64(count), destination)
        }
        precondition(isSupported, "the kernels know every tensor type")
    }
}
