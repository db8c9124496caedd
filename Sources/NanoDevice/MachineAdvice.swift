/// What would make this machine serve faster, in sentences derived from its facts.
package enum MachineAdvice {
    /// The advice, the most rewarding first; empty when nothing stands out.
    package static func lines(
        machine: Machine, topology: MachineTopology, measurements: DoctorMeasurements
    ) -> [String] {
        instructionSets(topology) + quota(machine) + sharing(topology, measurements)
            + cpuset(machine, topology) + nodes(machine, topology) + hugePages(topology.hugePages)
            + memory(machine, topology)
    }

    private static func instructionSets(_ topology: MachineTopology) -> [String] {
        let sets = Set(topology.instructionSets)
        if sets.isSuperset(of: ["avx512", "avx512_vnni"]) { return [] }
        if sets.isSuperset(of: ["avx2", "fma"]) {
            return [
                """
                The CPU does not offer AVX-512 with VNNI. On one that does, matrix products in \
                int8 are several times as fast.
                """
            ]
        }
        return [
            """
            The CPU offers neither AVX-512 nor AVX2 with FMA, so portable kernels run, at a small \
            part of the usual speed. In a virtual machine, pass the host's CPU model through.
            """
        ]
    }

    private static func quota(_ machine: Machine) -> [String] {
        guard let quota = machine.cpuQuota, quota < Double(machine.allowedCPUs.count) else {
            return []
        }
        let threads = machine.usableThreadCount
        return [
            """
            The control group grants the time of \(decimal(quota)) CPUs, though \
            \(machine.allowedCPUs.count) are allowed: \(threads) \
            \(threads == 1 ? "thread is" : "threads are") used. Raise the quota to a whole number \
            of CPUs (docker run --cpus, limits.cpu in Kubernetes).
            """
        ]
    }

    /// Threads that slow each other down by more than a quarter.
    private static func sharing(
        _ topology: MachineTopology, _ measurements: DoctorMeasurements
    ) -> [String] {
        let threads = measurements.threadCount
        // The kind that suffers least: a passing disturbance during one of them is no finding.
        let ratios = PeakKind.allCases.map {
            measurements.allThreads[$0] / measurements.oneThread[$0] / Double(threads)
        }
        guard threads > 1, let ratio = ratios.max(), ratio < 0.75 else { return [] }
        let share = Int(100 * ratio)
        let finding =
            "With \(threads) threads at work each does \(share) % of what one does alone: "
        guard let core = topology.sharedCores.first else {
            return [
                finding + """
                    others use these CPUs too (processes, other virtual machines, or virtual CPUs \
                    that are threads of one core). Stop them, or use fewer --threads.
                    """
            ]
        }
        return [
            finding + """
                CPUs \(SystemText.indexRanges(core)) share one core. Allow one CPU of each core \
                (taskset --cpu-list), or use fewer --threads.
                """
        ]
    }

    private static func cpuset(_ machine: Machine, _ topology: MachineTopology) -> [String] {
        let unused = Set(topology.onlineCPUs).subtracting(machine.allowedCPUs)
        guard !unused.isEmpty else { return [] }
        return [
            """
            This process may not use \(unused.count) of the machine's \
            \(topology.onlineCPUs.count) CPUs (taskset, cpuset or numactl): more would serve more.
            """
        ]
    }

    private static func nodes(_ machine: Machine, _ topology: MachineTopology) -> [String] {
        let used = topology.numaNodes(of: machine.allowedCPUs)
        guard used.count > 1, let first = used.first else { return [] }
        return [
            """
            The allowed CPUs lie in \(used.count) NUMA nodes, and NanoFlow places its memory as if \
            there were one. Start one server a node: numactl --cpunodebind=\(first.index) \
            --membind=\(first.index) nanoflow ...
            """
        ]
    }

    private static func hugePages(_ pages: MachineTopology.HugePages) -> [String] {
        var lines: [String] = []
        if pages.transparent == "never" {
            lines.append(
                """
                Transparent huge pages are off, which slows down reading weights and KV cache. \
                Switch them on: echo madvise | sudo tee \
                /sys/kernel/mm/transparent_hugepage/enabled
                """)
        }
        if pages.reservedCount > 0 {
            let size = pages.byteCount.map { byteText($0 * pages.reservedCount) }
            lines.append(
                """
                \(pages.reservedCount) huge pages\(size.map { " (\($0))" } ?? "") are set aside, \
                which NanoFlow does not use; it takes transparent ones. Give them back if nothing \
                else needs them: sudo sysctl vm.nr_hugepages=0
                """)
        }
        return lines
    }

    private static func memory(_ machine: Machine, _ topology: MachineTopology) -> [String] {
        var lines: [String] = []
        // Less is what any system swaps out once and never misses.
        if topology.usedSwapByteCount > 64 << 20 {
            lines.append(
                """
                \(byteText(topology.usedSwapByteCount)) of swap are in use: memory is short, and a \
                model that is swapped out answers slowly. Stop other processes.
                """)
        }
        if let total = topology.memoryByteCount, machine.availableByteCount < total / 4 {
            let cause = machine.memoryLimitByteCount.map {
                "the control group's limit is \(byteText($0))"
            }
            lines.append(
                """
                Only \(byteText(machine.availableByteCount)) of \(byteText(total)) memory are \
                available (\(cause ?? "other processes hold the rest")): little is left for the KV \
                cache, and so for large batches.
                """)
        }
        return lines
    }

    /// A number of bytes for people: "48 KiB", "1.5 GiB".
    package static func byteText(_ count: Int) -> String {
        let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)]
        for (name, shift) in units where count >= 1 << shift {
            return "\(decimal(Double(count) / Double(1 << shift))) \(name)"
        }
        return "\(count) bytes"
    }

    /// One decimal place, two below 1, and none for whole numbers.
    private static func decimal(_ value: Double) -> String {
        let places: Double = value < 1 ? 100 : 10
        let rounded = (value * places).rounded() / places
        return Int(exactly: rounded).map(String.init) ?? "\(rounded)"
    }
}
