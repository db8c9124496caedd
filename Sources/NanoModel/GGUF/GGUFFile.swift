/// A GGUF v3 file, mapped read-only: typed metadata and tensors by name.
///
/// Every offset, count, length and type of the header is checked when the file is opened, so what
/// is handed out afterwards lies inside the file. Source: the GGUF specification of ggml
/// (docs/gguf.md there). Stricter than the specification: arrays do not nest, an alignment is a
/// power of two, tensors do not overlap, and a tensor of a type that ``GGUFTensorType`` does not
/// list refuses the whole file, as its size cannot be known.
///
/// ``MappedFile`` says what happens when another process truncates the file meanwhile.
package final class GGUFFile: Sendable {
    let file: MappedFile
    let entries: [String: GGUFMetadataEntry]
    private let tensorIndices: [String: Int]

    /// The path as it was given, for messages.
    package var path: String { file.path }
    /// The metadata keys, in the file's order.
    package let metadataKeys: [String]
    /// `general.alignment`, bytes; 32 when the file does not say.
    package let alignment: Int
    /// The tensors, in the file's order.
    package let tensors: [GGUFTensor]

    /// Maps the file and checks its header.
    ///
    /// - Throws: ``ModelLoadingError`` with field and byte offset when the file cannot be opened or
    ///   any part of its header is wrong.
    package convenience init(path: String) throws(ModelLoadingError) {
        try self.init(MappedFile(path: path))
    }

    /// Checks the header of a file that is already open.
    ///
    /// - Throws: as ``init(path:)``.
    package init(_ file: MappedFile) throws(ModelLoadingError) {
        let header = try GGUFHeader(file)
        self.file = file
        entries = header.entries
        metadataKeys = header.keys
        alignment = header.alignment
        tensors = header.tensors
        tensorIndices = Dictionary(
            uniqueKeysWithValues: zip(header.tensors.map(\.name), header.tensors.indices))
    }

    package var byteCount: Int { file.byteCount }

    /// Gives bytes of the file to `body`, which is not to keep them, and lets them go.
    package func withBytes(_ range: Range<Int>, _ body: (UnsafeRawBufferPointer) -> Void) {
        file.withUnsafeBytes(in: range, body)
        file.letGo(range)
    }

    /// Returns the tensor of that name.
    ///
    /// - Throws: ``ModelLoadingError`` when there is none.
    package func tensor(named name: String) throws(ModelLoadingError) -> GGUFTensor {
        guard let tensor = tensorIfPresent(named: name) else {
            throw file.error(
                "tensor \(quoted(name))", at: nil, "the model needs this tensor and has none")
        }
        return tensor
    }

    /// Returns the tensor of that name, or nil.
    package func tensorIfPresent(named name: String) -> GGUFTensor? {
        tensorIndices[name].map { tensors[$0] }
    }
}
