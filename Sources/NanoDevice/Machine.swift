import CNanoKernels
import CNanoSystem
import Foundation

/// What this process may use of the machine: CPUs, CPU quota and memory, as the kernel and the
/// process's control group state them.
package struct Machine: Sendable, Hashable {
    /// The CPUs that this process may run on, ascending.
    package let allowedCPUs: [Int]
    /// CPUs' worth of time that the control group grants; nil: no quota.
    package let cpuQuota: Double?
    /// Bytes that can still be allocated, under both the machine's memory and the group's limit.
    package let availableByteCount: Int
    /// True if the CPU has 8-bit dot products (AVX-512 VNNI) and kernels here use them.
    package let hasInt8DotProduct: Bool
    /// True if the CPU has bfloat16 dot products and kernels here use them.
    package let hasBFloat16DotProduct: Bool

    /// Reads the present state from `/proc` and the control group's files.
    package static func current() -> Machine {
        var cpus = [Int32](repeating: 0, count: 4096)
        let count = Int(ns_allowed_cpus(&cpus, Int32(cpus.count)))
        let groups = ControlGroup.chain()
        let memory = [memoryAvailable()] + groups.compactMap(\.availableByteCount)
        return Machine(
            allowedCPUs: count > 0 ? cpus[..<count].map(Int.init) : [0],
            cpuQuota: groups.compactMap(\.cpuQuota).min(),
            availableByteCount: memory.min() ?? 0,
            hasInt8DotProduct: nk_has_vnni() && nk_best_isa() != NK_ISA_PORTABLE,
            hasBFloat16DotProduct: nk_has_bf16() && nk_best_isa() != NK_ISA_PORTABLE)
    }

    /// Threads worth starting: no more than the allowed CPUs, nor than the quota pays for.
    package var usableThreadCount: Int {
        guard let cpuQuota else { return allowedCPUs.count }
        return max(1, min(allowedCPUs.count, Int(cpuQuota)))
    }

    private static func memoryAvailable() -> Int {
        let lines = readLines("/proc/meminfo")
        for line in lines where line.hasPrefix("MemAvailable:") {
            let kibibytes = line.split(separator: " ").dropFirst().first.flatMap { Int($0) }
            return (kibibytes ?? 0) << 10
        }
        return 0
    }
}

/// One control group (v2, or a v1 controller's folder) on the way from this process to the root.
private struct ControlGroup {
    let cpuQuota: Double?
    let availableByteCount: Int?

    static func chain() -> [ControlGroup] {
        readLines("/proc/self/cgroup").flatMap { line -> [ControlGroup] in
            // "0::/path" for v2, "7:memory:/path" for v1
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { return [] }
            let controllers = fields[1].split(separator: ",")
            return folders(of: String(fields[2])).compactMap { folder in
                if controllers.isEmpty { return unified("/sys/fs/cgroup" + folder) }
                if controllers.contains("memory") { return legacyMemory(folder) }
                if controllers.contains("cpu") { return legacyCPU(folder) }
                return nil
            }
        }
    }

    /// "/a/b" -> ["/a/b", "/a", ""]: a limit anywhere above binds.
    private static func folders(of path: String) -> [String] {
        var parts = path.split(separator: "/")
        var result: [String] = []
        while !parts.isEmpty {
            result.append("/" + parts.joined(separator: "/"))
            parts.removeLast()
        }
        return result + [""]
    }

    private static func unified(_ folder: String) -> ControlGroup {
        let cpu = readLines(folder + "/cpu.max").first?.split(separator: " ").compactMap {
            Double($0)
        }
        // "max 100000" has one number only: no quota.
        let quota = cpu.flatMap { $0.count == 2 && $0[1] > 0 ? $0[0] / $0[1] : nil }
        return ControlGroup(
            cpuQuota: quota,
            availableByteCount: memory(
                limit: folder + "/memory.max", used: folder + "/memory.current",
                statistics: folder + "/memory.stat", cacheKey: "inactive_file"))
    }

    private static func legacyMemory(_ folder: String) -> ControlGroup {
        let root = "/sys/fs/cgroup/memory" + folder
        return ControlGroup(
            cpuQuota: nil,
            availableByteCount: memory(
                limit: root + "/memory.limit_in_bytes", used: root + "/memory.usage_in_bytes",
                statistics: root + "/memory.stat", cacheKey: "total_inactive_file"))
    }

    private static func legacyCPU(_ folder: String) -> ControlGroup {
        let root = "/sys/fs/cgroup/cpu" + folder
        let quota = readLines(root + "/cpu.cfs_quota_us").first.flatMap { Double($0) }
        let period = readLines(root + "/cpu.cfs_period_us").first.flatMap { Double($0) }
        guard let quota, let period, quota > 0, period > 0 else {
            return ControlGroup(cpuQuota: nil, availableByteCount: nil)
        }
        return ControlGroup(cpuQuota: quota / period, availableByteCount: nil)
    }

    /// Limit less use; page cache that the kernel can drop does not count as used.
    private static func memory(
        limit: String, used: String, statistics: String, cacheKey: String
    ) -> Int? {
        guard let limit = readLines(limit).first.flatMap({ Int($0) }),
            let used = readLines(used).first.flatMap({ Int($0) })
        else { return nil }
        let cache = readLines(statistics).first { $0.hasPrefix(cacheKey + " ") }
            .flatMap { $0.split(separator: " ").last }.flatMap { Int($0) }
        return max(0, limit - max(0, used - (cache ?? 0)))
    }
}

private func readLines(_ path: String) -> [String] {
    guard let data = FileManager.default.contents(atPath: path) else { return [] }
    return String(decoding: data, as: UTF8.self).split(separator: "\n").map(String.init)
}
