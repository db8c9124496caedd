import Foundation
import NanoDevice
import Testing

@Suite struct MachineTopologyTests {
    /// A folder that looks like `/` of a machine with two nodes of two CPUs, one core each.
    private static let files = [
        "proc/cpuinfo": """
        processor\t: 0
        model name\t: Example 9000
        flags\t\t: fpu avx2 fma avx512f avx512bw avx512vl avx512dq avx512_vnni avx512_bf16
        """,
        "proc/meminfo": """
        MemTotal:       8388608 kB
        SwapTotal:      1048576 kB
        SwapFree:        524288 kB
        HugePages_Total:      4
        Hugepagesize:      2048 kB
        """,
        "sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]\n",
        "sys/devices/system/cpu/online": "0-3\n",
        "sys/devices/system/cpu/cpu0/cache/index0/type": "Data\n",
        "sys/devices/system/cpu/cpu0/cache/index0/level": "1\n",
        "sys/devices/system/cpu/cpu0/cache/index0/size": "48K\n",
        "sys/devices/system/cpu/cpu0/cache/index0/shared_cpu_list": "0-1\n",
        "sys/devices/system/cpu/cpu0/cache/index1/type": "Instruction\n",
        "sys/devices/system/cpu/cpu0/cache/index1/level": "1\n",
        "sys/devices/system/cpu/cpu0/cache/index1/size": "32K\n",
        "sys/devices/system/cpu/cpu0/cache/index2/type": "Unified\n",
        "sys/devices/system/cpu/cpu0/cache/index2/level": "2\n",
        "sys/devices/system/cpu/cpu0/cache/index2/size": "1024K\n",
        "sys/devices/system/cpu/cpu0/cache/index2/shared_cpu_list": "0-1\n",
        "sys/devices/system/cpu/cpu0/topology/thread_siblings_list": "0-1\n",
        "sys/devices/system/cpu/cpu1/topology/thread_siblings_list": "0-1\n",
        "sys/devices/system/cpu/cpu2/topology/thread_siblings_list": "2-3\n",
        "sys/devices/system/node/online": "0-1\n",
        "sys/devices/system/node/node0/cpulist": "0-1\n",
        "sys/devices/system/node/node0/meminfo": "Node 0 MemTotal:  4194304 kB\n",
        "sys/devices/system/node/node1/cpulist": "2-3\n",
        "sys/devices/system/node/node1/meminfo": "Node 1 MemTotal:  4194304 kB\n",
    ]

    private func withRoot<Result>(
        _ files: [String: String], _ body: (String) throws -> Result
    ) throws -> Result {
        let root = FileManager.default.temporaryDirectory.appendingPathComponent(
            "nanoflow-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: root) }
        for (path, text) in files {
            let file = root.appendingPathComponent(path)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: file)
        }
        return try body(root.path)
    }

    @Test func aMachineIsReadFromItsFiles() throws {
        let topology = try withRoot(Self.files) {
            MachineTopology(root: $0, allowedCPUs: [0, 1, 2])
        }
        #expect(topology.cpuModel == "Example 9000")
        #expect(
            topology.instructionSets == ["avx2", "fma", "avx512", "avx512_vnni", "avx512_bf16"])
        #expect(
            topology.caches == [
                MachineTopology.Cache(level: 1, byteCount: 48 << 10, cpus: [0, 1]),
                MachineTopology.Cache(level: 2, byteCount: 1 << 20, cpus: [0, 1]),
            ])
        #expect(topology.lastLevelCacheByteCount == 1 << 20)
        #expect(
            topology.hugePages
                == MachineTopology.HugePages(
                    transparent: "never", reservedCount: 4, byteCount: 2 << 20))
        #expect(topology.numaNodes.map(\.cpus) == [[0, 1], [2, 3]])
        #expect(topology.numaNodes.map(\.memoryByteCount) == [4 << 30, 4 << 30])
        #expect(topology.numaNodes(of: [2]).map(\.index) == [1])
        #expect(topology.onlineCPUs == [0, 1, 2, 3])
        // CPU 3 is not allowed, so CPU 2 has its core alone.
        #expect(topology.sharedCores == [[0, 1]])
        #expect(topology.memoryByteCount == 8 << 30)
        #expect(topology.usedSwapByteCount == 512 << 20)
    }

    @Test func aMachineThatSaysNothingIsUnknown() throws {
        let topology = try withRoot([:]) { MachineTopology(root: $0, allowedCPUs: []) }
        #expect(topology.cpuModel == nil)
        #expect(topology.instructionSets.isEmpty && topology.caches.isEmpty)
        #expect(topology.numaNodes.isEmpty && topology.sharedCores.isEmpty)
        #expect(topology.lastLevelCacheByteCount == 0 && topology.usedSwapByteCount == 0)
        #expect(topology.hugePages.transparent == nil && topology.hugePages.reservedCount == 0)
    }

    @Test func partsOfAVX512AreNotAVX512() {
        #expect(MachineTopology.instructionSets(flags: "avx2 avx512f avx512bw") == ["avx2"])
        #expect(MachineTopology.instructionSets(flags: "fpu sse2 avx_vnni") == ["avx_vnni"])
        #expect(MachineTopology.instructionSets(flags: "").isEmpty)
    }

    @Test func thePresentMachineHasConsistentParts() {
        let machine = Machine.current()
        let topology = MachineTopology(allowedCPUs: machine.allowedCPUs)
        #expect(Set(machine.allowedCPUs).isSubset(of: topology.onlineCPUs))
        #expect(topology.caches.map(\.level) == topology.caches.map(\.level).sorted())
        if let total = topology.memoryByteCount { #expect(machine.availableByteCount <= total) }
        if InstructionSet.avx512.isSupported {
            #expect(topology.instructionSets.contains("avx512_bf16"))
        }
    }

    @Test func unitsArePinnedInTurnWhereCPUsSuffice() {
        let map = ExecutionUnitMap(unitCount: 3, cpus: [0, 1, 4, 5])
        #expect((0..<3).map(map.cpu(ofUnit:)) == [0, 1, 4])
        #expect(map.description == "units 0-1 on CPUs 0-1, unit 2 on CPU 4")
        let crowded = ExecutionUnitMap(unitCount: 3, cpus: [0, 1])
        #expect(crowded.cpu(ofUnit: 0) == nil)
        #expect(crowded.description == "3 units on any CPU (there are fewer CPUs)")
    }
}
