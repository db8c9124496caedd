import CNanoKernels

/// A matrix product, cut as the engine cuts it: all rows times a few panels of weights a call.
///
/// Each thread has its own share of the outputs. The weights come from memory, as those of the next
/// layer do: a thread goes through its share of the random numbers from panel to panel, and
/// through its share of the outputs over and over.
struct ProductWork: KernelWork {
    package let operationsPerPortion: Double
    package let bytesPerPortion: Double

    private let shape: ProductShape
    private let format: MatrixFormat
    private let kernels: Kernels
    private let panelsPerCall: Int
    private let callsPerChunk: Int
    private let panelsOfThread: Int
    private let panelByteCount: Int
    private let x: ActivationRows
    private let result: Result
    // These keep memory mapped.
    private let numbers: RandomMemory
    private let scales: RandomMemory
    private let arena: MemoryArena

    /// Where the threads write.
    private struct Result: Sendable {
        nonisolated(unsafe) var out: UnsafeMutablePointer<Float>
        var stride: Int
        /// Elements from one thread's part to the next, and from one panel's to the next.
        var threadStride: Int
        var panelStride: Int
        /// Calls after which a thread writes the same part again.
        var callCount: Int
    }

    init(_ shape: ProductShape, _ bench: KernelWorkbench) throws(KernelBenchmarkError) {
        let format = shape.format.matrixFormat(inputs: shape.inputs)
        let panelInputs = format.paddedInputs(shape.inputs)
        let panelCount = (shape.outputs + panelWidth - 1) / panelWidth
        let panelWork = 2.0 * Double(shape.rows * shape.inputs * panelWidth)
        let panelsPerCall = Self.panelsPerCall(
            shape, panelCount: panelCount, panelWork: panelWork, threads: bench.threads)
        let share = max(panelsPerCall, panelCount / bench.threads)

        panelByteCount = panelInputs * format.elementByteCount * panelWidth
        panelsOfThread =
            bench.numbers.byteCount / panelByteCount / bench.threads / panelsPerCall * panelsPerCall
        let scaleByteCount = format.groupCount(shape.inputs) * panelWidth * 4
        precondition(
            panelsOfThread > 0
                && panelsOfThread * bench.threads * scaleByteCount <= bench.scales.byteCount,
            "There must be random numbers for the weights of every thread.")
        operationsPerPortion = panelWork
        bytesPerPortion = Double(panelByteCount + scaleByteCount)

        let rowByteCount = ActivationRows.byteCount(
            capacity: shape.rows, width: shape.inputs, format: format)
        let outCount = shape.rows * bench.threads * share * panelWidth
        arena = try bench.arena(
            byteCount: rowByteCount + MemoryArena.byteCount(Float.self, outCount)
                + MemoryArena.byteCount(Float.self, shape.inputs))
        x = ActivationRows(
            capacity: shape.rows, width: shape.inputs, format: format, arena: arena)
        result = Self.result(
            shape, share: share, panelsPerCall: panelsPerCall, threads: bench.threads,
            out: arena.cutStart(Float.self, count: outCount))
        callsPerChunk = max(1, Int(1e7 / panelWork) / panelsPerCall)
        (self.shape, self.format, kernels) = (shape, format, bench.kernels)
        self.panelsPerCall = panelsPerCall
        (numbers, scales) = (bench.numbers, bench.scales)
        let row = arena.cut(Float.self, count: shape.inputs)
        for index in 0..<shape.rows {
            KernelWorkbench.fill(row, seed: UInt64(index))
            guard let values = row.baseAddress else { continue }
            x.store(values, row: index, format: format, kernels: kernels)
        }
    }

    /// As many as the engine's tiles have, eight tiles a unit, but no more than take about half a
    /// millisecond, so that the clock is looked at.
    private static func panelsPerCall(
        _ shape: ProductShape, panelCount: Int, panelWork: Double, threads: Int
    ) -> Int {
        let tile = shape.role == .lmHead ? headPanels : panelCount / (8 * threads)
        return max(1, min(tile, Int(1e8 / panelWork)))
    }

    /// (row, output) of all threads side by side; of the LM head a tile a thread, as only the
    /// largest logit of a tile is kept.
    private static func result(
        _ shape: ProductShape, share: Int, panelsPerCall: Int, threads: Int,
        out: UnsafeMutablePointer<Float>
    ) -> Result {
        let panelStride = shape.role.epilogue == NK_SILU_MULTIPLY ? panelWidth / 2 : panelWidth
        if shape.role == .lmHead {
            let stride = panelsPerCall * panelStride
            return Result(
                out: out, stride: stride, threadStride: shape.rows * stride,
                panelStride: panelStride, callCount: 1)
        }
        return Result(
            out: out, stride: threads * share * panelStride, threadStride: share * panelStride,
            panelStride: panelStride, callCount: share / panelsPerCall)
    }

    /// Whether memory may bound the product: with more rows the weights' way from there takes far
    /// less time than the arithmetic.
    static func isBoundByMemory(rows: Int) -> Bool { rows <= 16 }

    package func run(thread: Int, chunk: Int) -> UInt64 {
        for call in chunk * callsPerChunk..<(chunk + 1) * callsPerChunk {
            let panel = thread * panelsOfThread + call * panelsPerCall % panelsOfThread
            let column =
                thread * result.threadStride
                + call % result.callCount * panelsPerCall * result.panelStride
            // The kernel writes panel p to out + p * panelStride.
            multiply(panel: panel, into: result.out + column - panel * result.panelStride)
        }
        return UInt64(callsPerChunk * panelsPerCall)
    }

    private func multiply(panel: Int, into out: UnsafeMutablePointer<Float>) {
        let output = nk_output(
            out: out, stride: result.stride, bias: nil, epilogue: shape.role.epilogue,
            ahead: nil)
        let functions = kernels.functions.pointee
        let (rows, k) = (Int32(shape.rows), Int32(shape.inputs))
        let (first, count) = (Int32(panel), Int32(panelsPerCall))
        switch format {
        case .f32:
            let matrix = nk_matrix_f32(
                panels: numbers.base.assumingMemoryBound(to: Float.self), inputs: k)
            functions.linear_f32(x.floats(row: 0), x.stride, rows, matrix, first, count, output)
        case .bf16:
            let matrix = nk_matrix_bf16(
                panels: numbers.base.assumingMemoryBound(to: nk_bf16.self), inputs: k)
            functions.linear_bf16(x.bfloats(row: 0), x.stride, rows, matrix, first, count, output)
        case .int8(let groupSize):
            let matrix = nk_matrix_int8(
                panels: numbers.base.assumingMemoryBound(to: UInt8.self),
                scales: scales.base.assumingMemoryBound(to: Float.self), inputs: k,
                group_size: Int32(groupSize))
            functions.linear_int8(
                x.integers(row: 0, format: format), rows, matrix, first, count, output)
        }
    }
}

private let panelWidth = Int(NK_PANEL)
/// Panels in a tile of the engine's LM head.
private let headPanels = 8
