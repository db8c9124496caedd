/// Weights that no file holds: the same random values for the same seed, made when they are read.
///
/// For benchmarks of a shape whose weights nobody has at hand: the time of a step depends on shapes,
/// not on values. Norm weights are 1; all others are close to normal with mean 0 and a standard
/// deviation of 0.02.
package struct RandomTensors: TensorSource {
    private let seed: UInt64
    private let hasQKVBias: Bool

    package let path = "random weights"

    /// - Parameters:
    ///   - seed: Chooses the values.
    ///   - hasQKVBias: Whether query, key and value projections have a bias.
    package init(seed: UInt64, hasQKVBias: Bool) {
        self.seed = seed
        self.hasQKVBias = hasQKVBias
    }

    package func hasTensor(named name: String) -> Bool {
        guard name.hasSuffix(".bias") else { return name != "rope_freqs.weight" }
        return hasQKVBias
            && ["attn_q", "attn_k", "attn_v"].contains { name.hasSuffix("\($0).bias") }
    }

    package func tensor(
        named name: String, shape: [Int]
    ) throws(ModelLoadingError) -> any WeightTensor {
        guard hasTensor(named: name), let rowLength = shape.first else {
            throw ModelLoadingError(
                file: path, field: "tensor \(quoted(name))",
                "the model needs this tensor and has none")
        }
        let rowCount = shape.dropFirst().reduce(1, *)
        if name.hasSuffix("norm.weight") {
            return RandomTensor(rowCount: rowCount, rowLength: rowLength, values: .ones)
        }
        // FNV-1a of the name, so that tensors differ.
        let salt = name.utf8.reduce(UInt64(0xCBF2_9CE4_8422_2325)) { hash, byte in
            (hash ^ UInt64(byte)) &* 0x0100_0000_01B3
        }
        return RandomTensor(
            rowCount: rowCount, rowLength: rowLength, values: .random(seed: seed ^ salt))
    }
}

/// One of ``RandomTensors``; any row can be made without those before it.
private struct RandomTensor: WeightTensor {
    enum Values: Sendable {
        case ones
        case random(seed: UInt64)
    }

    let rowCount: Int
    let rowLength: Int
    let values: Values

    var type: GGUFTensorType { .bf16 }

    func dequantizeRows(_ rows: Range<Int>, into out: UnsafeMutableBufferPointer<Float>) {
        checkRoom(rows, elementCount: out.count)
        guard let base = out.baseAddress else { return }
        for (index, row) in rows.enumerated() {
            fill(row) { base[index * rowLength + $0] = $1 }
        }
    }

    func copyRows(_ rows: Range<Int>, into out: UnsafeMutableRawBufferPointer) {
        checkRoom(rows, elementCount: out.count / 2)
        let elements = out.bindMemory(to: UInt16.self)
        guard let base = elements.baseAddress else { return }
        for (index, row) in rows.enumerated() {
            // bfloat16 is the upper half of an f32; random values need no rounding.
            fill(row) {
                base[index * rowLength + $0] = UInt16(truncatingIfNeeded: $1.bitPattern >> 16)
            }
        }
    }

    private func checkRoom(_ rows: Range<Int>, elementCount: Int) {
        precondition(
            rows.lowerBound >= 0 && rows.upperBound <= rowCount
                && elementCount == rows.count * rowLength,
            "Rows must lie in the tensor and have exactly their room.")
    }

    /// Gives each element of a row, in order, to `store`.
    @inline(__always)
    private func fill(_ row: Int, _ store: (Int, Float) -> Void) {
        guard case .random(let seed) = values else {
            for column in 0..<rowLength { store(column, 1) }
            return
        }
        // A row's generator (xorshift, Marsaglia 2003) starts anywhere but at 0.
        var state = (seed &+ UInt64(row)) &* 0x9E37_79B9_7F4A_7C15
        state = (state ^ (state >> 29)) | 1
        var column = 0
        while column < rowLength {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            store(column, Self.value(state))
            if column + 1 < rowLength { store(column + 1, Self.value(state >> 8)) }
            column += 2
        }
    }

    /// The sum of four bytes (mean 510, standard deviation 147.8), centred and scaled to 0.02.
    @inline(__always)
    private static func value(_ bits: UInt64) -> Float {
        let lanes = bits & 0x00FF_00FF_00FF_00FF
        // The product's upper lane is the sum of all four.
        let sum = (lanes &* 0x0001_0001_0001_0001) >> 48
        return (Float(Int32(truncatingIfNeeded: sum)) - 510) * (0.02 / 147.8)
    }
}
