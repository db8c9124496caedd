import NanoDevice

/// Packs one matrix; a tile is a run of panels.
final class PackingJob: TiledProgram {
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

    func run(operation: Int, tile: Int, unit: Int, ahead: Ahead?) {
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
