package import CNanoKernels

/// A weight matrix (outputs, inputs), packed in panels of 32 outputs as the kernels read it.
///
/// `nk_matrix_f32`, `nk_matrix_bf16` and `nk_matrix_int8` of `nano_kernels.h` define the layouts.
/// Packed once at load, then only read.
package struct PackedMatrix: Sendable {
    package let inputs: Int
    package let outputs: Int
    package let format: MatrixFormat
    private nonisolated(unsafe) let panels: UnsafeMutableRawPointer
    private nonisolated(unsafe) let scales: UnsafeMutablePointer<Float>?
    private nonisolated(unsafe) let bias: UnsafeMutablePointer<Float>?

    /// Panels of 32 outputs; the last one may be partial.
    package var panelCount: Int { (outputs + panelWidth - 1) / panelWidth }
    /// Outputs rounded up to whole panels: the row stride that a result needs at least.
    package var paddedOutputs: Int { panelCount * panelWidth }

    /// Bytes that a matrix takes up in an arena.
    package static func byteCount(
        inputs: Int, outputs: Int, format: MatrixFormat, hasBias: Bool
    ) -> Int {
        let padded = (outputs + panelWidth - 1) / panelWidth * panelWidth
        let elements = padded * format.paddedInputs(inputs)
        return MemoryArena.byteCount(UInt8.self, elements * format.elementByteCount)
            + MemoryArena.byteCount(Float.self, padded * format.groupCount(inputs))
            + (hasBias ? MemoryArena.byteCount(Float.self, padded) : 0)
    }

    /// Cuts room for the matrix; ``pack(panel:weights:)`` fills it.
    package init(
        inputs: Int, outputs: Int, format: MatrixFormat, hasBias: Bool, arena: MemoryArena
    ) {
        self.inputs = inputs
        self.outputs = outputs
        self.format = format
        let padded = (outputs + panelWidth - 1) / panelWidth * panelWidth
        let elements = padded * format.paddedInputs(inputs)
        let bytes = arena.cut(UInt8.self, count: elements * format.elementByteCount)
        let scales = arena.cut(Float.self, count: padded * format.groupCount(inputs))
        guard let base = bytes.baseAddress else {
            preconditionFailure("A matrix must have inputs and outputs.")
        }
        panels = UnsafeMutableRawPointer(base)
        self.scales = scales.isEmpty ? nil : scales.baseAddress
        bias = hasBias ? arena.cut(Float.self, count: padded).baseAddress : nil
    }

    /// What rounding rows of weights (row, inputs) to a format would lose.
    ///
    /// - Parameters:
    ///   - weights: f32; used up: int8 rotates them in place, so that one call serves for all formats.
    ///   - inputs: Length of a row.
    ///   - formats: int8 formats with the same rotation.
    ///   - kernels: Compute it.
    /// - Returns: For each format the sum of the squared errors, and that of the squared weights.
    package static func roundingErrors(
        _ weights: UnsafeMutableBufferPointer<Float>, inputs: Int, formats: [MatrixFormat],
        kernels: Kernels
    ) -> (errors: [Double], squares: Double) {
        let rows = weights.count / inputs
        var squares = 0.0
        var isRotated = false
        let errors = formats.map { format -> Double in
            guard case .int8(let groupSize) = format else { return 0 }
            if !isRotated { rotate(weights.baseAddress, rows, inputs, format, kernels) }
            isRotated = true
            var error = 0.0
            nk_int8_error(
                weights.baseAddress, Int32(rows), Int32(inputs), Int32(groupSize), &error, &squares)
            return error
        }
        return (errors, squares)
    }

    private static func rotate(
        _ weights: UnsafeMutablePointer<Float>?, _ rows: Int, _ inputs: Int,
        _ format: MatrixFormat, _ kernels: Kernels
    ) {
        for row in 0..<rows {
            kernels.functions.pointee.rotate(
                weights.map { $0 + row * inputs }, Int32(inputs), Int32(format.rotationRun),
                MatrixFormat.rotationSigns, format.rotationScales.weights)
        }
    }

    /// Packs one panel from its rows of weights (up to 32, inputs), f32.
    ///
    /// `weights` are used up: int8 rotates them in place.
    package func pack(
        panel: Int, weights: UnsafeMutableBufferPointer<Float>, kernels: Kernels
    ) {
        let rows = min(panelWidth, outputs - panel * panelWidth)
        precondition(
            panel >= 0 && rows > 0 && weights.count >= rows * inputs,
            "A panel must be given all its rows.")
        let offset = panel * panelWidth * format.paddedInputs(inputs) * format.elementByteCount
        let target = panels + offset
        let source = weights.baseAddress
        switch format {
        case .f32:
            nk_pack_f32(
                source, Int32(rows), Int32(inputs), target.assumingMemoryBound(to: Float.self))
        case .bf16:
            nk_pack_bf16(
                source, Int32(rows), Int32(inputs), target.assumingMemoryBound(to: nk_bf16.self))
        case .int8(let groupSize):
            Self.rotate(source, rows, inputs, format, kernels)
            nk_pack_int8(
                source, Int32(rows), Int32(inputs), Int32(groupSize),
                target.assumingMemoryBound(to: UInt8.self),
                scales.map { $0 + panel * panelWidth * format.groupCount(inputs) })
        }
    }

    /// Sets the bias (outputs).
    package func setBias(_ values: UnsafeBufferPointer<Float>) {
        guard let bias else { preconditionFailure("The matrix was made without a bias.") }
        precondition(values.count == outputs, "A bias has one value per output.")
        for (index, value) in values.enumerated() { bias[index] = value }
    }

    /// Multiplies a range of rows by a range of panels: out[row][output] = bias + x[row] * weights.
    ///
    /// - Parameters:
    ///   - x: Activations (row, inputs), stored for this matrix's format.
    ///   - rows: Rows of `x` and `out`.
    ///   - range: Panels of the matrix, 32 outputs each.
    ///   - out: f32 (row, output); whole panels are written.
    ///   - stride: Elements from one row of `out` to the next, at least those that the panels
    ///     write: 32 each, or 16 where the epilogue gates one half of them with the other.
    ///   - epilogue: What to do with the product.
    ///   - kernels: Compute it.
    ///   - ahead: What to ask memory for meanwhile; changes no result.
    package func multiply(
        _ x: ActivationRows, rows: Range<Int>, panels range: Range<Int>,
        into out: UnsafeMutablePointer<Float>, stride: Int, epilogue: nk_epilogue,
        kernels: Kernels, ahead: Ahead? = nil
    ) {
        precondition(
            x.format.hasRoom(for: format) && x.width == inputs
                && stride >= range.count * panelWidth / (epilogue == NK_SILU_MULTIPLY ? 2 : 1)
                && rows.upperBound <= x.capacity && range.upperBound <= panelCount,
            "Activations, matrix and result must fit each other.")
        let output = nk_output(
            out: out + rows.lowerBound * stride, stride: stride, bias: bias, epilogue: epilogue,
            ahead: ahead)
        let rowCount = Int32(rows.count)
        let first = Int32(range.lowerBound)
        let count = Int32(range.count)
        let k = Int32(inputs)
        switch format {
        case .f32:
            let matrix = nk_matrix_f32(
                panels: panels.assumingMemoryBound(to: Float.self), inputs: k)
            kernels.functions.pointee.linear_f32(
                x.floats(row: rows.lowerBound), x.stride, rowCount, matrix, first, count, output)
        case .bf16:
            let matrix = nk_matrix_bf16(
                panels: panels.assumingMemoryBound(to: nk_bf16.self), inputs: k)
            kernels.functions.pointee.linear_bf16(
                x.bfloats(row: rows.lowerBound), x.stride, rowCount, matrix, first, count, output)
        case .int8(let groupSize):
            let matrix = nk_matrix_int8(
                panels: panels.assumingMemoryBound(to: UInt8.self), scales: scales, inputs: k,
                group_size: Int32(groupSize))
            kernels.functions.pointee.linear_int8(
                x.integers(row: rows.lowerBound, format: format), rowCount, matrix, first, count,
                output)
        }
    }
}

private let panelWidth = NK_PANEL
