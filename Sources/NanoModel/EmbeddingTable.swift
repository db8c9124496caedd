import CNanoKernels
import NanoDevice

/// The token embedding (vocabulary, hidden), kept as the file has it; rows become f32 one by one.
package struct EmbeddingTable: Sendable {
    package let rowCount: Int
    package let rowLength: Int
    private let type: Int32
    private let rowByteCount: Int
    private nonisolated(unsafe) let bytes: UnsafeRawPointer

    /// Copies the tensor, so that the file may go away.
    init(_ tensor: GGUFTensor, arena: MemoryArena) {
        let room = arena.cut(UInt8.self, count: tensor.byteCount)
        tensor.withUnsafeBytes { UnsafeMutableRawBufferPointer(room).copyMemory(from: $0) }
        guard let base = room.baseAddress else {
            preconditionFailure("An embedding must have rows.")
        }
        rowCount = tensor.rowCount
        rowLength = tensor.rowLength
        type = Int32(tensor.type.rawValue)
        rowByteCount = tensor.rowByteCount
        bytes = UnsafeRawPointer(base)
    }

    /// Writes the row of a token (hidden) as f32.
    package func copyRow(_ token: Int, to out: UnsafeMutablePointer<Float>) {
        precondition(token >= 0 && token < rowCount, "The token must be in the vocabulary.")
        let isKnown = nk_dequantize(type, bytes + token * rowByteCount, Int64(rowLength), out)
        precondition(isKnown, "The tensor's type was checked when its file was opened.")
    }
}
