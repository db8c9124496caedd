import CNanoSystem

/// What this process may use of the machine: CPUs, CPU quota and memory, as the kernel and the
/// process's control group state them.
package struct Machine: Sendable, Hashable {
    /// The CPUs that this process may run on, ascending.
    package let allowedCPUs: [Int]
    /// CPUs' worth of time that the control group grants; nil: no quota.
    package let cpuQuota: Double?
    /// Bytes that the control group may have in all; nil: no limit below the machine's memory.
    package let memoryLimitByteCount: Int?
    /// Bytes that can still be allocated, under both the machine's memory and the group's limit.
    package let availableByteCount: Int

    package init(
        allowedCPUs: [Int], cpuQuota: Double?, memoryLimitByteCount: Int?, availableByteCount: Int
    ) {
        self.allowedCPUs = allowedCPUs
        self.cpuQuota = cpuQuota
        self.memoryLimitByteCount = memoryLimitByteCount
        self.availableByteCount = availableByteCount
    }

    /// Reads the present state from `/proc` and the control group's files.
    package static func current() -> Machine {
        var cpus = [Int32](repeating: 0, count: 4096)
        let count = Int(ns_allowed_cpus(&cpus, Int32(cpus.count)))
        let groups = ControlGroup.chain()
        let figures = SystemText.memoryFigures(SystemText.read("/proc/meminfo"))
        // v1 states "no limit" as a number beyond any memory.
        let limits = groups.compactMap(\.memory?.limitByteCount).filter {
            $0 < figures["MemTotal"] ?? .max
        }
        let available = groups.compactMap(\.memory?.availableByteCount)
        return Machine(
            allowedCPUs: count > 0 ? cpus[..<count].map(Int.init) : [0],
            cpuQuota: groups.compactMap(\.cpuQuota).min(),
            memoryLimitByteCount: limits.min(),
            availableByteCount: (available + [figures["MemAvailable"] ?? 0]).min() ?? 0)
    }

    /// Threads worth starting: no more than the allowed CPUs, nor than the quota pays for.
    package var usableThreadCount: Int {
        guard let cpuQuota else { return allowedCPUs.count }
        return max(1, Int(min(Double(allowedCPUs.count), cpuQuota)))
    }
}
