import CNanoKernels
import Foundation
import NanoTestSupport
import Testing

@Suite struct ElementwiseTests {
    static let counts = [1, 2, 3, 15, 16, 17, 31, 33, 64, 575, 576, 1000]

    @Test(arguments: KernelSet.supported, counts)
    func rmsNormDividesByTheRootMeanSquare(set: KernelSet, count: Int) {
        var generator = SeededGenerator(seed: UInt64(count))
        let x = generator.floats(count, in: -5...5)
        let weight = generator.floats(count)
        var out = [Float](repeating: .nan, count: count + 1)
        set.kernels.rms_norm(x, weight, 1e-5, Int32(count), &out)
        let mean = x.reduce(0) { $0 + Double($1) * Double($1) } / Double(count)
        for i in 0..<count {
            let expected =
                Double(x[i]) * Double(weight[i]) / (mean + Double(Float(1e-5))).squareRoot()
            #expect(abs(Double(out[i]) - expected) <= 2e-6 * abs(expected))
        }
        #expect(out[count].isNaN, "nothing past the row is written")
    }

    @Test(arguments: KernelSet.supported)
    func convertBF16RoundsToTheNearestEven(set: KernelSet) {
        var generator = SeededGenerator(seed: 5)
        var x = (0..<4000).map { _ in
            Float(bitPattern: UInt32.random(in: 0...(.max), using: &generator))
        }
        // Exact ties, subnormals, the edge of infinity, the NaNs that rounding could carry over.
        let special: [UInt32] = [
            0x3f80_8000, 0x3f81_8000, 0xbf80_8000, 0x0000_0001, 0x0000_8000, 0x0001_8000,
            0x807f_ffff,
            0x7f7f_ffff, 0x7f7f_7fff, 0xff7f_8000, 0x7f80_0000, 0x7fff_ffff, 0x7f80_0001,
            0xffff_ffff,
        ]
        x += special.map(Float.init(bitPattern:))
        var out = [UInt16](repeating: 0, count: x.count)
        set.kernels.convert_bf16(x, Int32(x.count), &out)
        for (value, rounded) in zip(x, out) {
            #expect(rounded == nearestBF16(value), "\(value.bitPattern)")
        }
    }

    @Test(arguments: KernelSet.supported, counts)
    func convertBF16PadsToAnEvenCount(set: KernelSet, count: Int) {
        let padded = (count + 1) / 2 * 2
        var out = [UInt16](repeating: 0xabcd, count: padded + 1)
        set.kernels.convert_bf16([Float](repeating: 1, count: count), Int32(count), &out)
        #expect(out[0..<count].allSatisfy { $0 == 0x3f80 })
        #expect(out[count..<padded].allSatisfy { $0 == 0 })
        #expect(out[padded] == 0xabcd)
    }

    @Test(arguments: KernelSet.supported)
    func argmaxIsTheFirstOfTheLargestAndNeverNaN(set: KernelSet) {
        let cases: [([Float], Int, Float)] = [
            ([3], 0, 3),
            ([1, 5, 5, 2], 1, 5),
            ([.nan, 1, .nan, 1], 1, 1),
            ([.nan, .nan], 0, -.infinity),
            ([.nan, -.infinity], 1, -.infinity),
            ([-.infinity, -.infinity], 0, -.infinity),
            ([-3, .infinity, .infinity], 1, .infinity),
            ([Float](repeating: -1, count: 40), 0, -1),
            // A NaN in the lane of the largest, one vector later.
            (
                [9] + [Float](repeating: 0, count: 15) + [.nan] + [Float](repeating: 0, count: 30),
                0, 9
            ),
        ]
        for (x, index, maximum) in cases {
            var largest: Float = 0
            #expect(Int(set.kernels.argmax(x, Int32(x.count), &largest)) == index, "\(x)")
            #expect(largest == maximum, "\(x)")
        }
    }

    @Test(arguments: KernelSet.supported, counts)
    func argmaxFindsEveryPlace(set: KernelSet, count: Int) {
        var generator = SeededGenerator(seed: UInt64(count))
        var x = generator.floats(count)
        for place in stride(from: 0, to: count, by: max(1, count / 20)) {
            let kept = x[place]
            x[place] = 2
            var largest: Float = 0
            #expect(Int(set.kernels.argmax(x, Int32(count), &largest)) == place)
            #expect(largest == 2)
            x[place] = kept
        }
    }

    /// Long enough for what takes several vectors at once, and full of equals and of numbers that
    /// are none.
    @Test(arguments: KernelSet.supported, [63, 64, 65, 128, 150, 257])
    func argmaxIsThatOfTheTwin(set: KernelSet, count: Int) {
        let values: [Float] = [.nan, -.infinity, -1, 0, -0.0, 1, .infinity]
        for seed in 0..<200 as Range<UInt64> {
            var random = SeededGenerator(seed: seed)
            let most = Int.random(in: 1...values.count, using: &random)
            let x = (0..<count).map { _ in values[Int.random(in: 0..<most, using: &random)] }
            var (largest, expected): (Float, Float) = (0, 0)
            let place = set.kernels.argmax(x, Int32(count), &largest)
            #expect(
                place == KernelSet.portable.kernels.argmax(x, Int32(count), &expected),
                "seed \(seed)")
            #expect(largest == expected, "seed \(seed)")
        }
    }

    @Test(arguments: KernelSet.supported)
    func theExponentialIsWithinTwoTenMillionths(set: KernelSet) {
        for step in -8700...8000 {
            let x = Float(step) / 100
            let result = Double(set.kernels.sum_exp([x], 1, 0, 1))
            #expect(abs(result - exp(Double(x))) <= 2e-7 * exp(Double(x)), "\(x)")
        }
        // Beyond that a kernel may stay at the ends, far from what a softmax could notice.
        for low in [-110, -.infinity] as [Float] {
            #expect((0...0x1p-125).contains(set.kernels.sum_exp([low], 1, 0, 1)))
        }
        #expect(set.kernels.sum_exp([0], 1, 0, 1) == 1)
        #expect(set.kernels.sum_exp([90], 1, 0, 1) >= 0x1p115)
        #expect(set.kernels.sum_exp([.nan], 1, 0, 1).isNaN)
    }

    @Test(arguments: KernelSet.supported, counts + [49152])
    func sumExpIsCloseToItsDoublePrecisionReference(set: KernelSet, count: Int) {
        var generator = SeededGenerator(seed: UInt64(count))
        let x = generator.floats(count, in: -20...20)
        let maximum = x.max() ?? 0
        for inverseTemperature: Float in [0.5, 1, 1.25] {
            let sum = set.kernels.sum_exp(x, Int32(count), maximum, inverseTemperature)
            let expected = x.reduce(0) {
                $0 + exp((Double($1) - Double(maximum)) * Double(inverseTemperature))
            }
            // Scores of up to 50 carry a rounding error of 50 * 2^-24 each into their exponential.
            #expect(abs(Double(sum) - expected) <= 1e-5 * expected)
        }
    }
}
