import CNanoKernels
import Foundation
import NanoTestSupport
import Testing

@Suite struct PackingTests {
    static let rowCounts: [Int] = [1, 31, 32]

    @Test(arguments: rowCounts, [1, 2, 7])
    func f32PanelsHoldOutputsInnermost(rows: Int, inputs: Int) {
        var generator = SeededGenerator(seed: 1)
        let weights = generator.floats(rows * inputs)
        var panel = [Float](repeating: .nan, count: inputs * 32)
        nk_pack_f32(weights, Int32(rows), Int32(inputs), &panel)
        for k in 0..<inputs {
            for j in 0..<32 {
                #expect(panel[k * 32 + j] == (j < rows ? weights[j * inputs + k] : 0))
            }
        }
    }

    @Test(arguments: rowCounts, [1, 2, 7])
    func bf16PanelsHoldPairsOfInputs(rows: Int, inputs: Int) {
        var generator = SeededGenerator(seed: 2)
        let weights = generator.floats(rows * inputs)
        let even = (inputs + 1) / 2 * 2
        var panel = [UInt16](repeating: .max, count: even * 32)
        nk_pack_bf16(weights, Int32(rows), Int32(inputs), &panel)
        for k in 0..<even {
            for j in 0..<32 {
                let isWeight = j < rows && k < inputs
                let expected = isWeight ? nearestBF16(weights[j * inputs + k]) : 0
                #expect(panel[(k / 2 * 32 + j) * 2 + k % 2] == expected)
            }
        }
    }

    @Test(arguments: rowCounts, [1, 4, 30])
    func int8PanelsHoldFoursOfInputsWithAScalePerGroup(rows: Int, inputs: Int) {
        var generator = SeededGenerator(seed: 3)
        let weights = generator.floats(rows * inputs)
        let padded = (inputs + 3) / 4 * 4
        let groups = (inputs + 7) / 8
        var panel = [UInt8](repeating: .max, count: padded * 32)
        var scales = [Float](repeating: .nan, count: groups * 32)
        nk_pack_int8(weights, Int32(rows), Int32(inputs), 8, &panel, &scales)
        for k in 0..<padded {
            for j in 0..<32 {
                let byte = Int(panel[(k / 4 * 32 + j) * 4 + k % 4])
                guard j < rows, k < inputs else {
                    #expect(byte == 128)
                    continue
                }
                let scale = Double(scales[k / 8 * 32 + j])
                let error = abs(Double(byte - 128) * scale - Double(weights[j * inputs + k]))
                #expect(error <= scale * (0.5 + 127 * unitRoundoff))
            }
        }
        for g in 0..<groups {
            for j in 0..<32 {
                let group = (g * 8)..<min(g * 8 + 8, inputs)
                let largest = j < rows ? group.map { abs(weights[j * inputs + $0]) }.max() ?? 0 : 0
                #expect(scales[g * 32 + j] == largest / 127)
            }
        }
    }

    @Test(arguments: [NK_KV_F32, NK_KV_BF16])
    func appendingATokenWritesItsSlotAndNothingElse(type: nk_kv_type) {
        let headDim = 6
        let width = type == NK_KV_BF16 ? 2 : 4
        let headBytes = nk_kv_head_bytes(type, Int32(headDim))
        #expect(headBytes == 2 * 16 * headDim * width)
        for position in [0, 5, 15, 16, 31, 42] {
            var generator = SeededGenerator(seed: UInt64(position))
            let key = generator.floats(2 * headDim)
            let value = generator.floats(2 * headDim)
            var memory = [UInt8](repeating: 0xff, count: 3 * 2 * headBytes)
            memory.withUnsafeMutableBufferPointer {
                let layer = nk_kv_layer(
                    base: $0.baseAddress, block_stride: 2 * headBytes, head_stride: headBytes,
                    type: type)
                nk_kv_append(key, value, 2, Int32(headDim), layer, 1, Int32(position))
            }
            var expected = [UInt8](repeating: 0xff, count: memory.count)
            let slot = position % 16
            for head in 0..<2 {
                for d in 0..<headDim {
                    let start = 2 * headBytes + head * headBytes
                    let isBF16 = type == NK_KV_BF16
                    let k = isBF16 ? (d / 2 * 16 + slot) * 2 + d % 2 : d * 16 + slot
                    let v =
                        isBF16 ? (slot / 2 * headDim + d) * 2 + slot % 2 : slot * headDim + d
                    store(key[head * headDim + d], type, in: &expected, at: start + k * width)
                    store(
                        value[head * headDim + d], type, in: &expected,
                        at: start + headBytes / 2 + v * width)
                }
            }
            let differs = zip(memory, expected).contains { $0 != $1 }
            #expect(!differs, "position \(position)")
        }
    }

    private func store(_ value: Float, _ type: nk_kv_type, in bytes: inout [UInt8], at index: Int) {
        bytes.withUnsafeMutableBytes {
            if type == NK_KV_BF16 {
                $0.storeBytes(of: nearestBF16(value), toByteOffset: index, as: UInt16.self)
            } else {
                $0.storeBytes(of: value, toByteOffset: index, as: Float.self)
            }
        }
    }

    @Test(arguments: [false, true], [8, 6])
    func ropeTurnsEachPairByItsAngle(interleaved: Bool, rotaryDim: Int) {
        let headDim = 8
        let half = rotaryDim / 2
        var generator = SeededGenerator(seed: 4)
        let heads = generator.floats(3 * headDim)
        let angles = generator.floats(half, in: -3...3)
        var turned = heads
        nk_rope(
            &turned, 3, Int32(headDim), Int32(rotaryDim), angles.map(cos), angles.map(sin),
            interleaved)
        for head in 0..<3 {
            let start = head * headDim
            for i in 0..<half {
                let first = start + (interleaved ? 2 * i : i)
                let second = first + (interleaved ? 1 : half)
                let (c, s) = (cos(Double(angles[i])), sin(Double(angles[i])))
                let (a, b) = (Double(heads[first]), Double(heads[second]))
                #expect(abs(Double(turned[first]) - (a * c - b * s)) <= 3e-7)
                #expect(abs(Double(turned[second]) - (a * s + b * c)) <= 3e-7)
            }
            let rest = (start + rotaryDim)..<(start + headDim)
            #expect(turned[rest] == heads[rest])
        }
    }

    @Test func theBestInstructionSetIsSupportedAndPortableAlwaysIs() {
        #expect(nk_supports(NK_ISA_PORTABLE))
        #expect(nk_supports(nk_best_isa()))
        #expect(String(cString: KernelSet.portable.kernels.name) == "portable")
        #expect(String(cString: KernelSet.avx2.kernels.name) == "avx2_fma")
        if nk_supports(NK_ISA_AVX512) {
            #expect(nk_supports(NK_ISA_AVX2))
            #expect(nk_best_isa() == NK_ISA_AVX512 && nk_has_vnni() && nk_has_bf16())
            #expect(String(cString: KernelSet.avx512.kernels.name) == "avx512_vnni_bf16")
        }
    }
}
