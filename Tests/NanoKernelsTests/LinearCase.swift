import CNanoKernels
import NanoTestSupport

enum LinearFormat: Sendable, Hashable {
    case f32
    case bf16
    case int8(groupSize: Int)

    static let all: [LinearFormat] = [
        .f32, .bf16, .int8(groupSize: 4), .int8(groupSize: 32), .int8(groupSize: 64),
        .int8(groupSize: 96), .int8(groupSize: 600),
    ]
}

struct LinearShape: Sendable, Hashable {
    var rows: Int
    var inputs: Int
    var outputs: Int

    /// Every row remainder of tiles of 8 and of 12 rows, odd inputs, part panels.
    static let odd: [LinearShape] =
        [
            LinearShape(rows: 1, inputs: 1, outputs: 1),
            LinearShape(rows: 2, inputs: 3, outputs: 31),
            LinearShape(rows: 3, inputs: 64, outputs: 32),
            LinearShape(rows: 13, inputs: 130, outputs: 96),
            LinearShape(rows: 27, inputs: 575, outputs: 40),
        ] + (4...12).map { LinearShape(rows: $0, inputs: 61 + $0, outputs: 33) }
}

/// A random matrix and random rows in one element format, packed, with all it takes to multiply.
struct LinearCase {
    let format: LinearFormat
    let shape: LinearShape
    let weights: [Float]
    let x: [Float]
    let bias: [Float]
    private var panelsF32: [Float] = []
    private var panelsBF16: [UInt16] = []
    private var panelsInt8: [UInt8] = []
    private var weightScales: [Float] = []
    private var xBF16: [UInt16] = []
    private var xInt8: [Int8] = []
    private var xFactors: [Float] = []
    private var xStarts: [Int32] = []

    var panelCount: Int { (shape.outputs + 31) / 32 }
    var stride: Int { panelCount * 32 }
    private var evenInputs: Int { (shape.inputs + 1) / 2 * 2 }
    private var paddedInputs: Int { (shape.inputs + 3) / 4 * 4 }
    private var groupSize: Int {
        if case .int8(let size) = format { size } else { shape.inputs }
    }
    private var groups: Int { (shape.inputs + groupSize - 1) / groupSize }
    /// Groups that share a scale of the row: one, two or three, whatever the case.
    private var scaleGroups: Int { 1 + (shape.rows + shape.outputs) % 3 }
    private var scaleCount: Int { (groups + scaleGroups - 1) / scaleGroups }

    /// `extremes`: weights and rows hold nothing but 1 and -1, the ends of int8 once quantized.
    init(_ format: LinearFormat, _ shape: LinearShape, seed: UInt64, extremes: Bool = false) {
        var generator = SeededGenerator(seed: seed)
        self.format = format
        self.shape = shape
        let weights = generator.floats(shape.outputs * shape.inputs)
        let x = generator.floats(shape.rows * shape.inputs, in: -3...3)
        self.weights = extremes ? weights.map { $0 < 0 ? -1 : 1 } : weights
        self.x = extremes ? x.map { $0 < 0 ? -1 : 1 } : x
        bias = generator.floats((shape.outputs + 31) / 32 * 32)
        packWeights()
        convertRows()
    }

    private mutating func packWeights() {
        for panel in 0..<panelCount {
            let rows = Int32(min(32, shape.outputs - panel * 32))
            let part = Array(weights[(panel * 32 * shape.inputs)...])
            let inputs = Int32(shape.inputs)
            switch format {
            case .f32:
                var packed = [Float](repeating: .nan, count: 32 * shape.inputs)
                nk_pack_f32(part, rows, inputs, &packed)
                panelsF32 += packed
            case .bf16:
                var packed = [UInt16](repeating: .max, count: 32 * evenInputs)
                nk_pack_bf16(part, rows, inputs, &packed)
                panelsBF16 += packed
            case .int8:
                var packed = [UInt8](repeating: .max, count: 32 * paddedInputs)
                var scales = [Float](repeating: .nan, count: 32 * groups)
                nk_pack_int8(part, rows, inputs, Int32(groupSize), &packed, &scales)
                panelsInt8 += packed
                weightScales += scales
            }
        }
    }

    private mutating func convertRows() {
        let kernels = KernelSet.portable.kernels
        for row in 0..<shape.rows {
            let values = Array(x[(row * shape.inputs)..<((row + 1) * shape.inputs)])
            if format == .bf16 {
                var converted = [UInt16](repeating: .max, count: evenInputs)
                kernels.convert_bf16(values, Int32(shape.inputs), &converted)
                xBF16 += converted
            } else if case .int8 = format {
                var quantized = [Int8](repeating: .max, count: paddedInputs)
                var scales: [Float] = []
                for first in Swift.stride(
                    from: 0, to: shape.inputs, by: groupSize * scaleGroups)
                {
                    let part = Array(values[first...].prefix(groupSize * scaleGroups))
                    var scale = Float.nan
                    let partGroups = (part.count + groupSize - 1) / groupSize
                    var starts = [Int32](repeating: .max, count: partGroups)
                    quantized.withUnsafeMutableBufferPointer {
                        kernels.quantize_int8(
                            part, Int32(part.count), Int32(groupSize),
                            $0.baseAddress.map { $0 + first }, &scale, &starts)
                    }
                    scales.append(scale)
                    xStarts += starts
                }
                scales.append(.nan)
                nk_scale_factors(&scales, Int32(scaleCount))
                xFactors += scales
                xInt8 += quantized
            }
        }
    }
}

// MARK: - Multiplying

extension LinearCase {
    /// Multiplies some rows by some panels into `out`, (rows, stride), and leaves the rest alone.
    ///
    /// With `NK_SILU_MULTIPLY` the stride is half as long.
    func multiply(
        _ set: KernelSet, rows: Range<Int>, panels: Range<Int>, into out: inout [Float],
        bias: Bool = false, epilogue: nk_epilogue = NK_STORE,
        ahead: UnsafeMutablePointer<nk_ahead>? = nil
    ) {
        self.bias.withUnsafeBufferPointer { biasPointer in
            out.withUnsafeMutableBufferPointer { target in
                let width = epilogue == NK_SILU_MULTIPLY ? stride / 2 : stride
                let output = nk_output(
                    out: target.baseAddress.map { $0 + rows.lowerBound * width }, stride: width,
                    bias: bias ? biasPointer.baseAddress : nil, epilogue: epilogue, ahead: ahead)
                call(set.kernels, rows, Int32(panels.lowerBound), Int32(panels.count), output)
            }
        }
    }

    /// All rows by all panels in one call.
    func multiply(_ set: KernelSet) -> [Float] {
        var out = [Float](repeating: .nan, count: shape.rows * stride)
        multiply(set, rows: 0..<shape.rows, panels: 0..<panelCount, into: &out)
        return out
    }

    private func call(
        _ kernels: nk_kernels, _ rows: Range<Int>, _ panel: Int32, _ count: Int32,
        _ output: nk_output
    ) {
        let rowCount = Int32(rows.count)
        switch format {
        case .f32:
            let tile = Array(x[(rows.lowerBound * shape.inputs)...])
            panelsF32.withUnsafeBufferPointer {
                let matrix = nk_matrix_f32(panels: $0.baseAddress, inputs: Int32(shape.inputs))
                kernels.linear_f32(tile, shape.inputs, rowCount, matrix, panel, count, output)
            }
        case .bf16:
            let tile = Array(xBF16[(rows.lowerBound * evenInputs)...])
            panelsBF16.withUnsafeBufferPointer {
                let matrix = nk_matrix_bf16(panels: $0.baseAddress, inputs: Int32(shape.inputs))
                kernels.linear_bf16(tile, evenInputs, rowCount, matrix, panel, count, output)
            }
        case .int8:
            callInt8(kernels, rows, panel, count, output)
        }
    }

    private func callInt8(
        _ kernels: nk_kernels, _ rows: Range<Int>, _ panel: Int32, _ count: Int32,
        _ output: nk_output
    ) {
        let values = Array(xInt8[(rows.lowerBound * paddedInputs)...])
        let factors = Array(xFactors[(rows.lowerBound * (scaleCount + 1))...])
        let starts = Array(xStarts[(rows.lowerBound * groups)...])
        panelsInt8.withUnsafeBufferPointer { panels in
            weightScales.withUnsafeBufferPointer { weightScales in
                values.withUnsafeBufferPointer { values in
                    factors.withUnsafeBufferPointer { factors in
                        starts.withUnsafeBufferPointer { starts in
                            let tile = nk_rows_int8(
                                values: values.baseAddress, stride: paddedInputs,
                                factors: factors.baseAddress, factor_stride: scaleCount + 1,
                                scale_groups: Int32(scaleGroups),
                                starts: starts.baseAddress, group_stride: groups)
                            let matrix = nk_matrix_int8(
                                panels: panels.baseAddress, scales: weightScales.baseAddress,
                                inputs: Int32(shape.inputs), group_size: Int32(groupSize))
                            kernels.linear_int8(
                                tile, Int32(rows.count), matrix, panel, count, output)
                        }
                    }
                }
            }
        }
    }
}

// MARK: - Reference

extension LinearCase {
    /// The operands as the format rounds them, worked out without the packing code, with scales
    /// multiplied in: int8 weights have one for each group of inputs, rows one for some groups.
    private func rounded(_ values: [Float], groupSize: Int) -> [Double] {
        switch format {
        case .f32: values.map(Double.init)
        case .bf16: roundedToBF16(values).map(Double.init)
        case .int8:
            stride(from: 0, to: values.count, by: shape.inputs).flatMap { row in
                stride(from: 0, to: shape.inputs, by: groupSize).flatMap { first -> [Double] in
                    let end = min(first + groupSize, shape.inputs)
                    return roundedToInt8(Array(values[(row + first)..<(row + end)]))
                }
            }
        }
    }

    private func stride(from: Int, to: Int, by: Int) -> StrideTo<Int> {
        Swift.stride(from: from, to: to, by: by)
    }

    /// What the origin of short dot products may cost an output: for each scale of the row, so many
    /// times the weights' largest scale times the row's.
    private func originError(row: Int, output: Int) -> Double {
        guard case .int8(let size) = format, size <= Int(NK_SHORT_GROUP) else { return 0 }
        let step = min(shape.inputs, size * scaleGroups)
        let units = stride(from: 0, to: shape.inputs, by: step).map { first in
            let end = min(first + step, shape.inputs)
            func largest(_ values: [Float], _ row: Int) -> Double {
                let part = values[(row * shape.inputs + first)..<(row * shape.inputs + end)]
                return Double(part.map(abs).max() ?? 0) / 127
            }
            return largest(weights, output) * largest(x, row)
        }
        return units.reduce(0, +) * Double(scaleGroups * scaleGroups + 1)
    }

    /// Products in double precision and, for each, how far a kernel may be off: one rounding for
    /// each of its inputs, relative to the sum of the absolute terms, and what a set loses by its
    /// origin of short dot products.
    func reference(for set: KernelSet) -> (products: [Double], tolerances: [Double]) {
        let w = rounded(weights, groupSize: groupSize)
        let x = rounded(x, groupSize: min(shape.inputs, groupSize * scaleGroups))
        let inputs = shape.inputs
        var products: [Double] = []
        var tolerances: [Double] = []
        for row in 0..<shape.rows {
            for output in 0..<shape.outputs {
                var sum = 0.0
                var size = 0.0
                for k in 0..<inputs {
                    let term = x[row * inputs + k] * w[output * inputs + k]
                    sum += term
                    size += abs(term)
                }
                products.append(sum)
                let rounding = size * Double(inputs + 4) * unitRoundoff
                tolerances.append(
                    rounding + (set.readsDotsAsFloats ? originError(row: row, output: output) : 0))
            }
        }
        return (products, tolerances)
    }
}
