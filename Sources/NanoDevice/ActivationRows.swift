import CNanoKernels

/// Activations (row, width) in the format of the matrix that reads them next.
///
/// Rows are written by one operation, each by one unit, and read by the next.
package struct ActivationRows: Sendable {
    /// The format that there is room for: of int8 group sizes, the smallest.
    package let format: MatrixFormat
    /// Rows that there is room for.
    package let capacity: Int
    /// Numbers in a row: the inputs of the matrix.
    package let width: Int
    /// Elements from one row to the next.
    package let stride: Int
    // Whatever the format, a row has the same places: units may be at work on different rows for
    // different matrices.
    private let factorStride: Int
    private let startStride: Int
    private nonisolated(unsafe) let values: UnsafeMutableRawPointer
    private nonisolated(unsafe) let factors: UnsafeMutablePointer<Float>  // (row, scale + 1)
    private nonisolated(unsafe) let starts: UnsafeMutablePointer<Int32>  // (row, group)

    /// Bytes that the rows take up in an arena.
    package static func byteCount(capacity: Int, width: Int, format: MatrixFormat) -> Int {
        MemoryArena.byteCount(UInt8.self, capacity * rowByteCount(width, format))
            + MemoryArena.byteCount(Float.self, capacity * (format.scaleCount(width) + 1))
            + MemoryArena.byteCount(Int32.self, capacity * max(1, format.groupCount(width)))
    }

    /// An odd number of cache lines: rows a multiple of 4 KiB apart would share the few places that
    /// the first-level cache has for them.
    private static func rowByteCount(_ width: Int, _ format: MatrixFormat) -> Int {
        let lines = (format.paddedInputs(width) * format.elementByteCount + 63) / 64
        return (lines | 1) * 64
    }

    /// Cuts room for `capacity` rows.
    package init(capacity: Int, width: Int, format: MatrixFormat, arena: MemoryArena) {
        self.format = format
        self.capacity = capacity
        self.width = width
        let rowByteCount = Self.rowByteCount(width, format)
        stride = rowByteCount / format.elementByteCount
        factorStride = format.scaleCount(width) + 1
        startStride = max(1, format.groupCount(width))
        let bytes = arena.cut(UInt8.self, count: capacity * rowByteCount)
        let factors = arena.cut(Float.self, count: capacity * factorStride)
        let starts = arena.cut(Int32.self, count: capacity * startStride)
        guard let base = bytes.baseAddress, let factorBase = factors.baseAddress,
            let startBase = starts.baseAddress
        else { preconditionFailure("Activations must have rows and a width.") }
        values = UnsafeMutableRawPointer(base)
        self.factors = factorBase
        self.starts = startBase
    }

    /// Stores one row of f32 values (width), rounded or quantised to the format.
    ///
    /// - Parameters:
    ///   - x: Used up: int8 rotates it in place.
    ///   - row: Where.
    ///   - format: That of the matrix that reads the row; fits the rows' own.
    ///   - kernels: Compute it.
    package func store(
        _ x: UnsafeMutablePointer<Float>, row: Int, format: MatrixFormat, kernels: Kernels
    ) {
        check(row, format)
        switch format {
        case .f32:
            floats(row: row).update(from: x, count: width)
        case .bf16:
            kernels.functions.pointee.convert_bf16(x, Int32(width), bfloats(row: row))
        case .int8:
            let step = format.scaleInputs(width)
            for (index, first) in Swift.stride(from: 0, to: width, by: step).enumerated() {
                storePart(x + first, row: row, part: index, format: format, kernels: kernels)
            }
            finish(row: row, format: format)
        }
    }

    /// Stores a part of a row, the inputs that share its scale of this number; the row is whole when
    /// all parts are there and ``finish(row:format:)`` has been called.
    ///
    /// - Parameters:
    ///   - x: The values of the part, used up.
    ///   - row: Where.
    ///   - part: Which of the row's scales.
    ///   - format: int8; that of the matrix that reads the row; fits the rows' own.
    ///   - kernels: Compute it.
    package func storePart(
        _ x: UnsafeMutablePointer<Float>, row: Int, part: Int, format: MatrixFormat,
        kernels: Kernels
    ) {
        check(row, format)
        guard case .int8(let groupSize) = format else {
            preconditionFailure("Only int8 rows have scales.")
        }
        let rotation = nk_rotation(
            run: Int32(format.rotationRun), scale: format.rotationScales.activations,
            signs: MatrixFormat.rotationSigns)
        let step = format.scaleInputs(width)
        let first = part * step
        kernels.functions.pointee.rotate_quantize_int8(
            x, Int32(min(step, width - first)), rotation, Int32(groupSize),
            integers(row: row) + first, factors + row * factorStride + part,
            starts + row * startStride + part * format.scaleGroups)
    }

    /// Ends a row of parts.
    package func finish(row: Int, format: MatrixFormat) {
        nk_scale_factors(factors + row * factorStride, Int32(format.scaleCount(width)))
    }

    private func check(_ row: Int, _ format: MatrixFormat) {
        precondition(row >= 0 && row < capacity, "The row must be within the capacity.")
        precondition(self.format.hasRoom(for: format), "The rows must have room for the format.")
    }

    func floats(row: Int) -> UnsafeMutablePointer<Float> {
        values.assumingMemoryBound(to: Float.self) + row * stride
    }

    func bfloats(row: Int) -> UnsafeMutablePointer<nk_bf16> {
        values.assumingMemoryBound(to: nk_bf16.self) + row * stride
    }

    private func integers(row: Int) -> UnsafeMutablePointer<Int8> {
        values.assumingMemoryBound(to: Int8.self) + row * stride
    }

    /// The rows from `row` on, as the kernels take them.
    func integers(row: Int, format: MatrixFormat) -> nk_rows_int8 {
        nk_rows_int8(
            values: integers(row: row), stride: stride, factors: factors + row * factorStride,
            factor_stride: factorStride, scale_groups: Int32(format.scaleGroups),
            starts: starts + row * startStride, group_stride: startStride)
    }
}
