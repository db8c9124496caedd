import CNanoKernels
import NanoTestSupport
import Testing

struct QuantizedRow: Equatable {
    var values: [Int8]
    var scales: [Float]
    var sums: [Int32]

    /// One element more than the kernel should write in each array, to see that it stays.
    init(_ x: [Float], groupSize: Int, with set: KernelSet) {
        let groups = (x.count + groupSize - 1) / groupSize
        values = [Int8](repeating: 99, count: (x.count + 3) / 4 * 4 + 1)
        scales = [Float](repeating: -9, count: groups + 1)
        sums = [Int32](repeating: -9, count: groups + 1)
        set.kernels.quantize_int8(x, Int32(x.count), Int32(groupSize), &values, &scales, &sums)
    }
}

@Suite struct QuantizeTests {
    static let counts = [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 100, 576]

    @Test(arguments: KernelSet.supported, counts)
    func aValueIsOffByAtMostHalfItsScale(set: KernelSet, count: Int) {
        for groupSize in [4, 20, 32, 64, 96] {
            var generator = SeededGenerator(seed: UInt64(count * groupSize))
            let x = generator.floats(count, in: -6...6)
            let row = QuantizedRow(x, groupSize: groupSize, with: set)
            for (i, value) in x.enumerated() {
                let scale = Double(row.scales[i / groupSize])
                // The quotient, up to 127, is itself rounded.
                let slack = scale * 127 * unitRoundoff
                let error = abs(Double(value) - Double(row.values[i]) * scale)
                #expect(error <= scale / 2 + slack)
            }
            for (g, first) in stride(from: 0, to: count, by: groupSize).enumerated() {
                let group = first..<min(first + groupSize, count)
                #expect(row.sums[g] == row.values[group].reduce(0) { $0 + Int32($1) })
                #expect(row.scales[g] == (x[group].map(abs).max() ?? 0) / 127)
            }
            #expect(row.values[count..<(row.values.count - 1)].allSatisfy { $0 == 0 })
            #expect(row.values.last == 99 && row.scales.last == -9 && row.sums.last == -9)
        }
    }

    @Test(arguments: KernelSet.fast, counts)
    func quantizationHasTheBitsOfItsPortableTwin(set: KernelSet, count: Int) {
        var generator = SeededGenerator(seed: UInt64(count))
        let x = generator.floats(count, in: -1e-3...1e-3)
        let twin = QuantizedRow(x, groupSize: 32, with: .portable)
        #expect(QuantizedRow(x, groupSize: 32, with: set) == twin)
    }

    @Test(arguments: KernelSet.supported)
    func aGroupOfZerosHasScaleZero(set: KernelSet) {
        let x: [Float] = [0, -0.0, 0, 0, 1, -127, 0, 2]
        let row = QuantizedRow(x, groupSize: 4, with: set)
        #expect(row.scales[0] == 0 && row.sums[0] == 0)
        #expect(Array(row.values[0..<8]) == [0, 0, 0, 0, 1, -127, 0, 2])
    }

    @Test(arguments: KernelSet.supported)
    func aGroupTooSmallForANormalScaleCountsAsZero(set: KernelSet) {
        let row = QuantizedRow(
            [0x1p-130, -0x1p-120, 0, .leastNonzeroMagnitude], groupSize: 4, with: set)
        #expect(row.scales[0] == 0 && row.sums[0] == 0)
        #expect(row.values[0..<4].allSatisfy { $0 == 0 })
    }

    /// So that it shows in the product instead of vanishing in an integer.
    @Test(arguments: KernelSet.supported, [Float.nan, .infinity, -.infinity])
    func aGroupThatIsNotFiniteKeepsThatInItsScale(set: KernelSet, bad: Float) {
        let x: [Float] = [1, 2, bad, 4, 5]
        let row = QuantizedRow(x, groupSize: 4, with: set)
        #expect(!row.scales[0].isFinite && row.sums[0] == 0)
        #expect(row.values[0..<4].allSatisfy { $0 == 0 })
        #expect(row.scales[1] == 5.0 / 127 && row.values[4] == 127)
    }
}
