/// One control group (v2, or a v1 controller's folder) on the way from this process to the root.
struct ControlGroup {
    let cpuQuota: Double?
    let memory: Memory?

    /// Bytes; page cache that the kernel can drop counts as available.
    struct Memory {
        let limitByteCount: Int
        let availableByteCount: Int
    }

    static func chain() -> [ControlGroup] {
        let lines = SystemText.read("/proc/self/cgroup").split(separator: "\n")
        return lines.flatMap { line -> [ControlGroup] in
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
        ControlGroup(
            cpuQuota: SystemText.cpuQuota(SystemText.read(folder + "/cpu.max")),
            memory: memory(
                limit: folder + "/memory.max", used: folder + "/memory.current",
                statistics: folder + "/memory.stat", cacheKey: "inactive_file"))
    }

    private static func legacyMemory(_ folder: String) -> ControlGroup {
        let root = "/sys/fs/cgroup/memory" + folder
        return ControlGroup(
            cpuQuota: nil,
            memory: memory(
                limit: root + "/memory.limit_in_bytes", used: root + "/memory.usage_in_bytes",
                statistics: root + "/memory.stat", cacheKey: "total_inactive_file"))
    }

    private static func legacyCPU(_ folder: String) -> ControlGroup {
        let root = "/sys/fs/cgroup/cpu" + folder
        let quota = number(root + "/cpu.cfs_quota_us")
        let period = number(root + "/cpu.cfs_period_us")
        guard let quota, let period else { return ControlGroup(cpuQuota: nil, memory: nil) }
        return ControlGroup(
            cpuQuota: SystemText.cpuQuota(microseconds: Double(quota), period: Double(period)),
            memory: nil)
    }

    /// v2 states "max", which is no number, where there is no limit.
    private static func memory(
        limit: String, used: String, statistics: String, cacheKey: String
    ) -> Memory? {
        guard let limit = number(limit), let used = number(used) else { return nil }
        let cache = SystemText.read(statistics).split(separator: "\n")
            .first { $0.hasPrefix(cacheKey + " ") }
            .flatMap { $0.split(separator: " ").last }.flatMap { Int($0) }
        let available = max(0, max(0, limit) - max(0, used - (cache ?? 0)))
        return Memory(limitByteCount: max(0, limit), availableByteCount: available)
    }

    /// The number that a file begins with.
    private static func number(_ path: String) -> Int? {
        SystemText.read(path).split(whereSeparator: \.isWhitespace).first.flatMap { Int($0) }
    }
}
