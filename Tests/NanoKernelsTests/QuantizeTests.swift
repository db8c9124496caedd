import CNanoKernels
import NanoTestSupport
import Testing

struct QuantizedRow: Equatable {
    var values: [Int8]
    var scale: Float
    /// Less the origin that they count from.
    var starts: [Int32]

    /// One element more than the kernel should write in each array, to see that it stays.
    init(_ x: [Float], _ rotation: nk_rotation? = nil, groupSize: Int, with set: KernelSet) {
        let groups = (x.count + groupSize - 1) / groupSize
        values = [Int8](repeating: 99, count: (x.count + 3) / 4 * 4 + 1)
        scale = -9
        let origin = nk_dot_origin(Int32(groupSize))
        starts = [Int32](repeating: origin - 9, count: groups + 1)
        let (count, size) = (Int32(x.count), Int32(groupSize))
        if let rotation {
            var x = x
            set.kernels.rotate_quantize_int8(
                &x, count, rotation, size, &values, &scale, &starts)
        } else {
            set.kernels.quantize_int8(x, count, size, &values, &scale, &starts)
        }
        starts = starts.map { $0 - origin }
    }
}

@Suite struct QuantizeTests {
    static let counts = [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 100, 576]

    @Test(arguments: KernelSet.supported, counts)
    func aValueIsOffByAtMostHalfTheRowsScale(set: KernelSet, count: Int) {
        for groupSize in [4, 20, 32, 64, 96, 260] {
            var generator = SeededGenerator(seed: UInt64(count * groupSize))
            let x = generator.floats(count, in: -6...6)
            let row = QuantizedRow(x, groupSize: groupSize, with: set)
            #expect(row.scale == (x.map(abs).max() ?? 0) / 127)
            let scale = Double(row.scale)
            for (given, rounded) in zip(x, row.values) {
                // The quotient, up to 127, is itself rounded.
                let error = abs(Double(given) - Double(rounded) * scale)
                #expect(error <= scale * (0.5 + 127 * unitRoundoff))
            }
            for (g, first) in stride(from: 0, to: count, by: groupSize).enumerated() {
                let group = row.values[first..<min(first + groupSize, count)]
                #expect(row.starts[g] == group.reduce(0) { $0 - 128 * Int32($1) })
            }
            #expect(row.values[count..<(row.values.count - 1)].allSatisfy { $0 == 0 })
            #expect(row.values.last == 99 && row.starts.last == -9)
        }
    }

    @Test(arguments: KernelSet.fast, counts)
    func quantizationHasTheBitsOfItsPortableTwin(set: KernelSet, count: Int) {
        var generator = SeededGenerator(seed: UInt64(count))
        let x = generator.floats(count, in: -1e-3...1e-3)
        let twin = QuantizedRow(x, groupSize: 32, with: .portable)
        #expect(QuantizedRow(x, groupSize: 32, with: set) == twin)
    }

    /// To the bits of one after the other.
    @Test(arguments: KernelSet.supported, [64, 128, 192, 100, 32, 17])
    func rotatingAndQuantizingInOneGoChangesNothing(set: KernelSet, count: Int) {
        for (run, groupSize) in [(64, 64), (32, 64), (64, 192), (4, 4)] {
            for fill in [nil, 0, .infinity] as [Float?] {
                var generator = SeededGenerator(seed: UInt64(count + run))
                var x = generator.floats(count, in: -6...6)
                if let fill { x = [Float](repeating: fill, count: count) }
                let rotation = nk_rotation(
                    run: Int32(run), scale: 0.125, signs: 0x91B7_584A_2265_B1F5)
                var rotated = x
                set.kernels.rotate(
                    &rotated, Int32(count), rotation.run, rotation.signs, rotation.scale)
                let expected = QuantizedRow(rotated, groupSize: groupSize, with: set)
                let row = QuantizedRow(x, rotation, groupSize: groupSize, with: set)
                #expect(row == expected || row.scale.isNaN, "runs of \(run)")
                #expect(row.scale.isFinite == expected.scale.isFinite)
                #expect(row.values == expected.values && row.starts == expected.starts)
            }
        }
    }

    @Test(arguments: KernelSet.supported)
    func theLargestValueBecomesTheEndOfTheRange(set: KernelSet) {
        let row = QuantizedRow([0, -0.0, 0, 0, 1, -127, 0, 2], groupSize: 4, with: set)
        #expect(row.scale == 1 && row.starts == [0, -128 * -124, -9])
        #expect(Array(row.values[0..<8]) == [0, 0, 0, 0, 1, -127, 0, 2])
    }

    /// All zeros, or too small for a normal scale.
    @Test(
        arguments: KernelSet.supported,
        [[0, -0.0, 0, 0, 0], [0x1p-130, -0x1p-120, 0, 0x1p-149, 0]])
    func aRowOfNothingHasScaleZero(set: KernelSet, x: [Float]) {
        let row = QuantizedRow(x, groupSize: 4, with: set)
        #expect(row.scale == 0 && row.starts == [0, 0, -9])
        #expect(row.values[0..<8].allSatisfy { $0 == 0 })
    }

    /// So that it shows in the product instead of vanishing in an integer.
    @Test(arguments: KernelSet.supported, [Float.nan, .infinity, -.infinity])
    func aRowThatIsNotFiniteKeepsThatInItsScale(set: KernelSet, bad: Float) {
        let row = QuantizedRow([1, 2, bad, 4, 5], groupSize: 4, with: set)
        #expect(!row.scale.isFinite && row.starts == [0, 0, -9])
        #expect(row.values[0..<5].allSatisfy { $0 == 0 })
    }

    /// What a sum is multiplied by on its way from one unit to the next: to the same end.
    @Test func factorsOfScalesLeadToTheirProducts() {
        let cases: [[Float]] = [
            [], [3], [0], [2, 5, 7], [0, 0], [0, 2, 0, 0, 3, 0], [0, 0, 1, 0],
            [1e-10, 1e10, 1e-10],
        ]
        for scales in cases {
            var factors = scales + [-1]
            nk_scale_factors(&factors, Int32(scales.count))
            var sum = 0.0
            for (scale, factor) in zip(scales, factors) {
                sum = sum * Double(factor) + (scale == 0 ? 0 : 10)
            }
            let expected = scales.reduce(0) { $0 + 10 * Double($1) }
            #expect(
                abs(sum * Double(factors[scales.count]) - expected) <= 1e-6 * expected,
                "\(scales)")
        }
    }

    @Test(arguments: [Float.nan, .infinity])
    func aScaleThatIsNotFiniteReachesTheSum(bad: Float) {
        for place in 0..<3 {
            var factors: [Float] = [2, 2, 2, -1]
            factors[place] = bad
            nk_scale_factors(&factors, 3)
            let sum = factors.dropLast().reduce(0 as Float) { $0 * $1 + 1 }
            #expect(!(sum * factors[3]).isFinite, "at \(place)")
        }
    }
}
