import CNanoKernels
import NanoDevice
import Testing

@Suite struct MachineTests {
    @Test func thePresentMachineIsPlausible() {
        let machine = Machine.current()
        #expect(!machine.allowedCPUs.isEmpty)
        #expect(machine.allowedCPUs == Set(machine.allowedCPUs).sorted())
        #expect((1...machine.allowedCPUs.count).contains(machine.usableThreadCount))
        #expect(machine.availableByteCount > 16 << 20)
        #expect(machine.availableByteCount < 1 << 50)
        if let quota = machine.cpuQuota { #expect(quota > 0) }
    }

    @Test func dotProductsAreClaimedOnlyWithKernelsForThem() {
        let machine = Machine.current()
        let hasKernels = nk_best_isa() != NK_ISA_PORTABLE
        #expect(machine.hasInt8DotProduct == (hasKernels && nk_has_vnni()))
        #expect(machine.hasBFloat16DotProduct == (hasKernels && nk_has_bf16()))
        #expect(Kernels.portable.name == "portable")
        #expect((Kernels.best.name != "portable") == hasKernels)
    }
}
