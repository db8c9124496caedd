/// What `nanoflow doctor` finds out, in the form of its JSON file; keys become snake_case there.
package struct DoctorReport: Encodable, Sendable {
    package var schemaVersion = 1
    package var machine: MachineFacts
    /// Name of the kernels chosen for this CPU.
    package var kernels: String
    package var threads: Int
    package var executionUnits: [UnitPlace]
    /// The instructions that the peaks were measured with.
    package var peakInstructionSet: String
    /// All threads together.
    package var peaks: Peaks
    package var peaksOfOneThread: Peaks
    package var readByThreads: [ReadRate]
    package var advice: [String]

    package struct MachineFacts: Encodable, Sendable {
        package var cpuModel: String?
        package var instructionSets: [String]
        package var caches: [Cache]
        package var memoryBytes: Int?
        package var availableMemoryBytes: Int
        package var memoryLimitBytes: Int?
        package var usedSwapBytes: Int
        package var hugePages: HugePages
        package var numaNodes: [NUMANode]
        /// The CPUs that this process may run on.
        package var allowedCpus: [Int]
        package var onlineCpus: [Int]
        package var cpuQuota: Double?
    }

    package struct Cache: Encodable, Sendable {
        package var level: Int
        package var bytes: Int
        package var cpus: [Int]
    }

    package struct HugePages: Encodable, Sendable {
        package var transparent: String?
        package var reserved: Int
        package var bytes: Int?
    }

    package struct NUMANode: Encodable, Sendable {
        package var node: Int
        package var cpus: [Int]
        package var memoryBytes: Int?
    }

    package struct UnitPlace: Encodable, Sendable {
        package var unit: Int
        /// Absent where the unit is not pinned.
        package var cpu: Int?
    }

    package struct Peaks: Encodable, Sendable {
        /// Operations a second; a multiplication and its addition are two.
        package var int8: Double
        package var bf16: Double
        package var f32: Double
        /// Bytes a second.
        package var read: Double

        package init(_ peaks: MachinePeaks) {
            (int8, bf16, f32) = (peaks.int8, peaks.bf16, peaks.f32)
            read = peaks.readBandwidth
        }
    }

    package struct ReadRate: Encodable, Sendable {
        package var threads: Int
        package var bytesPerSecond: Double
    }

    /// Puts the facts and the measurements together and derives the advice from them.
    package init(
        machine: Machine, topology: MachineTopology, kernels: String,
        measurements: DoctorMeasurements
    ) {
        self.machine = MachineFacts(machine, topology)
        self.kernels = kernels
        threads = measurements.threadCount
        let map = ExecutionUnitMap(unitCount: threads, cpus: machine.allowedCPUs)
        executionUnits = (0..<threads).map { UnitPlace(unit: $0, cpu: map.cpu(ofUnit: $0)) }
        peakInstructionSet = measurements.instructionSet.rawValue
        peaks = Peaks(measurements.allThreads)
        peaksOfOneThread = Peaks(measurements.oneThread)
        readByThreads = measurements.readBandwidths.map {
            ReadRate(threads: $0.threads, bytesPerSecond: $0.rate)
        }
        advice = MachineAdvice.lines(
            machine: machine, topology: topology, measurements: measurements)
    }
}

extension DoctorReport.MachineFacts {
    init(_ machine: Machine, _ topology: MachineTopology) {
        cpuModel = topology.cpuModel
        instructionSets = topology.instructionSets
        caches = topology.caches.map {
            DoctorReport.Cache(level: $0.level, bytes: $0.byteCount, cpus: $0.cpus)
        }
        memoryBytes = topology.memoryByteCount
        availableMemoryBytes = machine.availableByteCount
        memoryLimitBytes = machine.memoryLimitByteCount
        usedSwapBytes = topology.usedSwapByteCount
        hugePages = DoctorReport.HugePages(
            transparent: topology.hugePages.transparent,
            reserved: topology.hugePages.reservedCount, bytes: topology.hugePages.byteCount)
        numaNodes = topology.numaNodes.map {
            DoctorReport.NUMANode(node: $0.index, cpus: $0.cpus, memoryBytes: $0.memoryByteCount)
        }
        allowedCpus = machine.allowedCPUs
        onlineCpus = topology.onlineCPUs
        cpuQuota = machine.cpuQuota
    }
}
