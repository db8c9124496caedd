import Foundation

/// What the machine consists of, as `/proc` and sysfs describe it.
///
/// A fact that the system does not state is nil or empty.
package struct MachineTopology: Sendable, Hashable {
    package var cpuModel: String?
    /// The instruction sets that matter to kernels, of those the CPU and the system support:
    /// "avx2", "fma", "avx512", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16".
    package var instructionSets: [String]
    /// The data caches of the first allowed CPU, the nearest first.
    package var caches: [Cache]
    package var hugePages: HugePages
    package var numaNodes: [NUMANode]
    /// The CPUs that are switched on, ascending.
    package var onlineCPUs: [Int]
    /// The allowed CPUs that share one core, for each core with several.
    package var sharedCores: [[Int]]
    package var memoryByteCount: Int?
    package var usedSwapByteCount: Int

    package struct Cache: Sendable, Hashable {
        /// 1 is the nearest to the core.
        package var level: Int
        package var byteCount: Int
        /// The CPUs that share it.
        package var cpus: [Int]

        package init(level: Int, byteCount: Int, cpus: [Int]) {
            (self.level, self.byteCount, self.cpus) = (level, byteCount, cpus)
        }
    }

    package struct HugePages: Sendable, Hashable {
        /// The system's setting for transparent huge pages: "always", "madvise" or "never".
        package var transparent: String?
        package var reservedCount: Int
        /// Bytes of one.
        package var byteCount: Int?

        package init(transparent: String?, reservedCount: Int, byteCount: Int?) {
            self.transparent = transparent
            self.reservedCount = reservedCount
            self.byteCount = byteCount
        }
    }

    package struct NUMANode: Sendable, Hashable {
        package var index: Int
        package var cpus: [Int]
        package var memoryByteCount: Int?

        package init(index: Int, cpus: [Int], memoryByteCount: Int?) {
            (self.index, self.cpus, self.memoryByteCount) = (index, cpus, memoryByteCount)
        }
    }

    /// Reads `/proc` and `/sys` under `root`, for a process that may use `allowedCPUs`.
    package init(root: String = "", allowedCPUs: [Int]) {
        let read = { (path: String) in SystemText.read(root + path) }
        let processor = read("/proc/cpuinfo")
        let memory = SystemText.memoryFigures(read("/proc/meminfo"))
        cpuModel = SystemText.firstValue(of: "model name", in: processor)
        instructionSets = Self.instructionSets(
            flags: SystemText.firstValue(of: "flags", in: processor) ?? "")
        caches = Self.caches(ofCPU: allowedCPUs.first ?? 0, read)
        hugePages = HugePages(
            transparent: SystemText.chosenWord(read("/sys/kernel/mm/transparent_hugepage/enabled")),
            reservedCount: memory["HugePages_Total"] ?? 0, byteCount: memory["Hugepagesize"])
        numaNodes = Self.numaNodes(read)
        onlineCPUs = SystemText.indexList(read("/sys/devices/system/cpu/online"))
        sharedCores = Self.sharedCores(of: allowedCPUs, read)
        memoryByteCount = memory["MemTotal"]
        usedSwapByteCount = max(0, (memory["SwapTotal"] ?? 0) - (memory["SwapFree"] ?? 0))
    }

    /// The last-level cache's bytes; 0 where unknown.
    package var lastLevelCacheByteCount: Int { caches.last?.byteCount ?? 0 }

    /// The nodes that hold any of the CPUs.
    package func numaNodes(of cpus: [Int]) -> [NUMANode] {
        numaNodes.filter { !Set($0.cpus).isDisjoint(with: cpus) }
    }

    /// Picks what matters from the flags of `/proc/cpuinfo`.
    package static func instructionSets(flags: String) -> [String] {
        let flags = Set(flags.split(separator: " ").map(String.init))
        var sets = ["avx2", "fma"].filter(flags.contains)
        if flags.isSuperset(of: ["avx512f", "avx512bw", "avx512vl", "avx512dq"]) {
            sets.append("avx512")
        }
        let more = ["avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16"]
        return sets + more.filter(flags.contains)
    }

    private static func caches(ofCPU cpu: Int, _ read: (String) -> String) -> [Cache] {
        let folders = (0..<16).map { "/sys/devices/system/cpu/cpu\(cpu)/cache/index\($0)" }
        let caches = folders.compactMap { folder -> Cache? in
            let kind = read(folder + "/type").trimmingCharacters(in: .whitespacesAndNewlines)
            guard kind == "Data" || kind == "Unified",
                let level = Int(read(folder + "/level").filter(\.isNumber)),
                let byteCount = SystemText.byteSize(read(folder + "/size"))
            else { return nil }
            return Cache(
                level: level, byteCount: byteCount,
                cpus: SystemText.indexList(read(folder + "/shared_cpu_list")))
        }
        return caches.sorted { $0.level < $1.level }
    }

    private static func numaNodes(_ read: (String) -> String) -> [NUMANode] {
        let nodes = "/sys/devices/system/node"
        return SystemText.indexList(read(nodes + "/online")).map { index in
            let memory = SystemText.memoryFigures(read("\(nodes)/node\(index)/meminfo"))
            return NUMANode(
                index: index, cpus: SystemText.indexList(read("\(nodes)/node\(index)/cpulist")),
                memoryByteCount: memory["MemTotal"])
        }
    }

    private static func sharedCores(of cpus: [Int], _ read: (String) -> String) -> [[Int]] {
        let cores = cpus.map { cpu in
            let path = "/sys/devices/system/cpu/cpu\(cpu)/topology/thread_siblings_list"
            return SystemText.indexList(read(path)).filter(cpus.contains)
        }
        return Set(cores.filter { $0.count > 1 }).sorted { $0[0] < $1[0] }
    }
}
