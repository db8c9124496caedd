import CNanoKernels

/// Activations (row, width) in the format of the matrix that reads them next.
///
/// Rows are written by one operation, each by one unit, and read by the next.
package struct ActivationRows: Sendable {
    package let format: MatrixFormat
    /// Rows that there is room for.
    package let capacity: Int
    /// Numbers in a row: the inputs of the matrix.
    package let width: Int
    /// Elements from one row to the next.
    package let stride: Int
    private let groupCount: Int
    private nonisolated(unsafe) let values: UnsafeMutableRawPointer
    private nonisolated(unsafe) let scales: UnsafeMutablePointer<Float>?
    private nonisolated(unsafe) let sums: UnsafeMutablePointer<Int32>?

    /// Bytes that the rows take up in an arena.
    package static func byteCount(capacity: Int, width: Int, format: MatrixFormat) -> Int {
        let stride = format.paddedInputs(width)
        let groups = capacity * format.groupCount(width)
        return MemoryArena.byteCount(UInt8.self, capacity * stride * format.elementByteCount)
            + MemoryArena.byteCount(Float.self, groups)
            + MemoryArena.byteCount(Int32.self, groups)
    }

    /// Cuts room for `capacity` rows.
    package init(capacity: Int, width: Int, format: MatrixFormat, arena: MemoryArena) {
        self.format = format
        self.capacity = capacity
        self.width = width
        stride = format.paddedInputs(width)
        groupCount = format.groupCount(width)
        let bytes = arena.cut(UInt8.self, count: capacity * stride * format.elementByteCount)
        guard let base = bytes.baseAddress else {
            preconditionFailure("Activations must have rows and a width.")
        }
        values = UnsafeMutableRawPointer(base)
        scales = arena.cut(Float.self, count: capacity * groupCount).baseAddress
        sums = arena.cut(Int32.self, count: capacity * groupCount).baseAddress
    }

    /// Stores one row of f32 values (width), rounded or quantised to the format.
    ///
    /// `x` is used up: int8 rotates it in place.
    package func store(_ x: UnsafeMutablePointer<Float>, row: Int, kernels: Kernels) {
        precondition(row >= 0 && row < capacity, "The row must be within the capacity.")
        let count = Int32(width)
        switch format {
        case .f32:
            floats(row: row).update(from: x, count: width)
        case .bf16:
            kernels.functions.convert_bf16(x, count, bfloats(row: row))
        case .int8(let groupSize):
            let target = integers(row: row)
            kernels.functions.rotate(
                x, count, Int32(format.rotationRun), MatrixFormat.rotationSigns,
                format.rotationScales.activations)
            kernels.functions.quantize_int8(
                x, count, Int32(groupSize), UnsafeMutablePointer(mutating: target.values),
                UnsafeMutablePointer(mutating: target.scales),
                UnsafeMutablePointer(mutating: target.sums))
        }
    }

    func floats(row: Int) -> UnsafeMutablePointer<Float> {
        values.assumingMemoryBound(to: Float.self) + row * stride
    }

    func bfloats(row: Int) -> UnsafeMutablePointer<nk_bf16> {
        values.assumingMemoryBound(to: nk_bf16.self) + row * stride
    }

    func integers(row: Int) -> nk_rows_int8 {
        nk_rows_int8(
            values: values.assumingMemoryBound(to: Int8.self) + row * stride, stride: stride,
            scales: scales.map { $0 + row * groupCount }, sums: sums.map { $0 + row * groupCount },
            group_stride: groupCount)
    }
}
