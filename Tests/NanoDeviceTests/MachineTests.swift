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
}
