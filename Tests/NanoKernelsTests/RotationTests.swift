import CNanoKernels
import NanoTestSupport
import Testing

@Suite struct RotationTests {
    let signs: UInt64 = 0x9E37_79B9_7F4A_7C15
    static let cases = [
        (64, 64), (576, 64), (100, 32), (176, 32), (64, 16), (48, 4), (5, 8), (7, 1),
    ]

    @Test(arguments: KernelSet.supported, cases)
    func twiceIsTheIdentityTimesTheRun(set: KernelSet, shape: (count: Int, run: Int)) {
        var generator = SeededGenerator(seed: UInt64(shape.count))
        let x = generator.floats(shape.count, in: -3...3)
        var rotated = x
        for scale in [1, 1 / Float(shape.run)] {
            set.kernels.rotate(&rotated, Int32(shape.count), Int32(shape.run), 0, scale)
        }
        for (given, expected) in zip(rotated, x) { #expect(abs(given - expected) < 1e-5) }
    }

    @Test(arguments: KernelSet.supported, cases)
    func dotProductsStay(set: KernelSet, shape: (count: Int, run: Int)) {
        var generator = SeededGenerator(seed: UInt64(shape.count + shape.run))
        var a = generator.floats(shape.count, in: -1...1)
        var b = generator.floats(shape.count, in: -1...1)
        let before = zip(a, b).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
        set.kernels.rotate(&a, Int32(shape.count), Int32(shape.run), signs, 1)
        set.kernels.rotate(&b, Int32(shape.count), Int32(shape.run), signs, 1 / Float(shape.run))
        let after = zip(a, b).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
        #expect(abs(before - after) < 1e-4)
    }

    @Test(arguments: KernelSet.supported)
    func valuesBehindTheLastWholeRunStay(set: KernelSet) {
        var generator = SeededGenerator(seed: 4)
        let x = generator.floats(176, in: -1...1)
        var rotated = x
        set.kernels.rotate(&rotated, 176, 32, signs, 1)
        #expect(rotated[160...] == x[160...])
        #expect(zip(rotated, x).prefix(160).contains { $0 != $1 })
    }

    @Test(arguments: KernelSet.supported)
    func oneValueIsSpreadOverItsRun(set: KernelSet) {
        for place in 0..<64 {
            var x = [Float](repeating: 0, count: 64)
            x[place] = 8
            set.kernels.rotate(&x, 64, 64, signs, 0.125)
            #expect(x.allSatisfy { abs($0) == 1 })
        }
    }

    @Test(arguments: KernelSet.fast, cases)
    func rotationHasTheBitsOfItsPortableTwin(set: KernelSet, shape: (count: Int, run: Int)) {
        var generator = SeededGenerator(seed: UInt64(shape.count))
        let x = generator.floats(shape.count, in: -9...9)
        var (a, b) = (x, x)
        KernelSet.portable.kernels.rotate(&a, Int32(shape.count), Int32(shape.run), signs, 0.25)
        set.kernels.rotate(&b, Int32(shape.count), Int32(shape.run), signs, 0.25)
        #expect(a.map(\.bitPattern) == b.map(\.bitPattern))
    }
}
