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

    @Test func theBestInstructionSetIsSupportedAndPortableAlwaysIs() {
        #expect(nk_supports(NK_ISA_PORTABLE))
        #expect(nk_supports(nk_best_isa()))
        #expect(String(cString: KernelSet.portable.kernels.name) == "portable")
        #expect(String(cString: KernelSet.avx2.kernels.name) == "avx2_fma")
        #expect(String(cString: KernelSet.avx512VNNI.kernels.name) == "avx512_vnni")
        #expect(String(cString: KernelSet.avx512.kernels.name) == "avx512_vnni_bf16")
        // Each set's CPUs run the sets before it too.
        let supported = KernelSet.allCases.map { nk_supports($0.isa) }
        let count = supported.count { $0 }
        #expect(supported == KernelSet.allCases.indices.map { $0 < count })
        // The last one has BF16, which on Intel's CPUs is slower than doing without.
        let processors = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
        let isIntel = processors.contains("GenuineIntel")
        let last = isIntel && count == KernelSet.allCases.count ? count - 2 : count - 1
        #expect(nk_best_isa() == KernelSet.allCases[last].isa)
    }
}
