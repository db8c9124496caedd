import CNanoKernels
import NanoDevice

/// The token embedding (vocabulary, hidden), kept as its source has it; rows become f32 one by one.
package struct EmbeddingTable: Sendable {
    package let rowCount: Int
    package let rowLength: Int
    private let type: Int32
    /// Bytes of one token's row.
    package let rowByteCount: Int
    private nonisolated(unsafe) let bytes: UnsafeMutableRawPointer

    /// Bytes that the tensor takes up in an arena.
    static func byteCount(_ tensor: any WeightTensor) -> Int {
        MemoryArena.byteCount(UInt8.self, tensor.rowCount * tensor.rowByteCount)
    }

    /// Copies the tensor in parallel, so that its file may go away.
    init(_ tensor: any WeightTensor, arena: MemoryArena, units: ExecutionUnits) {
        let room = arena.cut(UInt8.self, count: tensor.rowCount * tensor.rowByteCount)
        guard let base = room.baseAddress else {
            preconditionFailure("An embedding must have rows.")
        }
        rowCount = tensor.rowCount
        rowLength = tensor.rowLength
        type = Int32(tensor.type.rawValue)
        rowByteCount = tensor.rowByteCount
        bytes = UnsafeMutableRawPointer(base)
        let job = EmbeddingJob(source: tensor, bytes: UnsafeMutableRawBufferPointer(room))
        withExtendedLifetime(job) { units.wait(for: units.submit(job)) }
    }

    /// Writes the row of a token (hidden) as f32.
    package func copyRow(_ token: Int, to out: UnsafeMutablePointer<Float>) {
        precondition(token >= 0 && token < rowCount, "The token must be in the vocabulary.")
        let isKnown = nk_dequantize(type, bytes + token * rowByteCount, Int64(rowLength), out)
        precondition(isKnown, "The tensor's type was checked when its file was opened.")
    }
}

/// Copies an embedding; a tile is a run of rows.
private final class EmbeddingJob: TiledProgram {
    private let source: any WeightTensor
    private let bytes: UnsafeMutableRawBufferPointer  // (row, bytes of a row)
    private static let rowsPerTile = 256

    init(source: any WeightTensor, bytes: UnsafeMutableRawBufferPointer) {
        self.source = source
        self.bytes = bytes
    }

    var operationCount: Int { 1 }

    func tileCount(of operation: Int) -> Int {
        (source.rowCount + Self.rowsPerTile - 1) / Self.rowsPerTile
    }

    func dependencies(of operation: Int) -> [Int] { [] }

    func run(operation: Int, tile: Int, unit: Int, ahead: Ahead?) {
        let first = tile * Self.rowsPerTile
        let rows = first..<min(first + Self.rowsPerTile, source.rowCount)
        let start = first * source.rowByteCount
        source.copyRows(
            rows,
            into: UnsafeMutableRawBufferPointer(
                rebasing: bytes[start..<start + rows.count * source.rowByteCount]))
    }
}
