import CNanoKernels
import Foundation
import NanoTestSupport
import Testing

@Suite struct RopeTests {
    static let shapes = [(8, 8), (8, 6), (64, 64), (80, 32), (128, 128), (128, 100), (10, 10)]

    @Test(arguments: KernelSet.supported, shapes)
    func eachPairTurnsByItsAngle(set: KernelSet, shape: (headDim: Int, rotaryDim: Int)) {
        let (headDim, half) = (shape.headDim, shape.rotaryDim / 2)
        var generator = SeededGenerator(seed: 4)
        let heads = generator.floats(3 * headDim)
        let angles = generator.floats(half, in: -3...3)
        for interleaved in [false, true] {
            var turned = heads
            set.kernels.rope(
                &turned, 3, Int32(headDim), Int32(shape.rotaryDim), angles.map(cos),
                angles.map(sin), interleaved)
            for start in stride(from: 0, to: 3 * headDim, by: headDim) {
                for i in 0..<half {
                    let first = start + (interleaved ? 2 * i : i)
                    let second = first + (interleaved ? 1 : half)
                    let (c, s) = (cos(Double(angles[i])), sin(Double(angles[i])))
                    let (a, b) = (Double(heads[first]), Double(heads[second]))
                    // Numbers up to 1: an ulp in sine and cosine, a rounding in products and sum.
                    #expect(abs(Double(turned[first]) - (a * c - b * s)) <= 6 * unitRoundoff)
                    #expect(abs(Double(turned[second]) - (a * s + b * c)) <= 6 * unitRoundoff)
                }
                let rest = (start + shape.rotaryDim)..<(start + headDim)
                #expect(turned[rest] == heads[rest])
            }
        }
    }

    @Test(arguments: KernelSet.supported, [false, true])
    func aHeadHasTheSameBitsAloneAndAmongOthers(set: KernelSet, interleaved: Bool) {
        var generator = SeededGenerator(seed: 5)
        let heads = generator.floats(5 * 64)
        let angles = generator.floats(32, in: -3...3)
        let (cosines, sines) = (angles.map(cos), angles.map(sin))
        var together = heads
        set.kernels.rope(&together, 5, 64, 64, cosines, sines, interleaved)
        var apart: [Float] = []
        for head in 0..<5 {
            var alone = Array(heads[(head * 64)..<(head * 64 + 64)])
            set.kernels.rope(&alone, 1, 64, 64, cosines, sines, interleaved)
            apart += alone
        }
        #expect(firstDifference(together, apart) == nil)
    }
}
