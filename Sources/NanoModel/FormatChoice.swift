import NanoDevice

/// Chooses the format of one matrix: the coarsest that keeps the bound on the rounding error.
///
/// A tile of the program measures one panel.
final class FormatChoice: TiledProgram {
    /// The largest relative error, ||W - rounded W|| / ||W|| in the Frobenius norm, that a coarser
    /// format than the finest may have.
    ///
    /// Normally distributed weights lose 0.59 % in groups of 64, 0.67 % in groups of 192 and 0.75 %
    /// or more with one scale, and so do those of SmolLM2-135M once rotated. docs/LOG.md has what
    /// that means for its perplexity: groups of 192 cost 0.1 to 0.3 %.
    static let errorBound = 0.007

    /// Panels measured of a large matrix at least, spread evenly: enough for the third digit.
    private static let enoughPanels = 64
    private static let panelWidth = 32

    private let source: WeightSource
    /// Those to be measured, and the one taken where none of them keeps the bound.
    private let candidates: ArraySlice<MatrixFormat>
    private let finest: MatrixFormat
    private let kernels: Kernels
    private let panels: [Int]
    private let results: UnsafeMutablePointer<(errors: [Double], squares: Double)>

    init(_ source: WeightSource, _ formats: [MatrixFormat], _ kernels: Kernels) {
        self.source = source
        candidates = formats.dropLast()
        finest = formats[formats.count - 1]
        self.kernels = kernels
        let count = (source.outputs + Self.panelWidth - 1) / Self.panelWidth
        let step = max(1, count / Self.enoughPanels)
        panels = Array(stride(from: 0, to: count, by: step))
        results = .allocate(capacity: panels.count)
        results.initialize(repeating: ([], 0), count: panels.count)
    }

    deinit {
        results.deinitialize(count: panels.count)
        results.deallocate()
    }

    func run(on units: ExecutionUnits) -> MatrixFormat {
        guard !candidates.isEmpty else { return finest }
        units.wait(for: units.submit(self))
        let squares = (0..<panels.count).reduce(0.0) { $0 + results[$1].squares }
        for (index, format) in candidates.enumerated() {
            let error = (0..<panels.count).reduce(0.0) { $0 + results[$1].errors[index] }
            if error <= squares * Self.errorBound * Self.errorBound { return format }
        }
        return finest
    }

    // MARK: - TiledProgram

    var operationCount: Int { 1 }

    func tileCount(of operation: Int) -> Int { panels.count }

    func dependencies(of operation: Int) -> [Int] { [] }

    func run(operation: Int, tile: Int, unit: Int, ahead: Ahead?) {
        withUnsafeTemporaryAllocation(
            of: Float.self, capacity: Self.panelWidth * source.inputs
        ) { scratch in
            let first = panels[tile] * Self.panelWidth
            let rows = first..<min(first + Self.panelWidth, source.outputs)
            let weights = UnsafeMutableBufferPointer(
                rebasing: scratch[..<(rows.count * source.inputs)])
            source.dequantize(rows, into: weights)
            results[tile] = PackedMatrix.roundingErrors(
                weights, inputs: source.inputs, formats: Array(candidates), kernels: kernels)
        }
    }
}
