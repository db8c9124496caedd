/// What `nanoflow bench kernels` finds out, in the form of its JSON file; keys become snake_case
/// there.
package struct KernelBenchmarkReport: Encodable, Sendable {
    package let schemaVersion = 1
    package let machine: MachineFacts
    package let instructionSet: String
    package let threads: Int
    /// The highest of the run; each kernel is held against those measured next to it.
    package let peaks: DoctorReport.Peaks
    package var kernels: [Result]

    package struct MachineFacts: Encodable, Sendable {
        package let cpuModel: String?
        package let cpus: Int
        package let memoryBytes: Int?
    }

    package enum Bound: String, Encodable, Sendable {
        case compute, memory
    }

    /// One kernel at one shape.
    package struct Result: Encodable, Sendable {
        package var name: String
        /// The name of the instruction set's kernels.
        package var kernel: String
        package let operation: String?
        package let models: [String]
        package let shape: KernelShape
        package let rate: Double
        package let unit: String
        /// Of the nearer of the two roofs.
        package let ratioOfPeak: Double
        /// The nearer roof.
        package let bound: Bound

        init(
            _ kernelCase: KernelCase, kernel: String, operationsPerSecond: Double,
            bytesPerSecond: Double, arithmeticRatio: Double, memoryRatio: Double
        ) {
            name = kernelCase.name
            self.kernel = kernel
            operation = kernelCase.operation
            models = kernelCase.models
            shape = kernelCase.shape
            if kernelCase.countsBytes {
                (rate, unit) = (bytesPerSecond / 1e9, "GB/s")
            } else {
                let isInteger = kernelCase.arithmetic == .int8
                (rate, unit) = (operationsPerSecond / 1e9, isInteger ? "GOP/s" : "GFLOP/s")
            }
            ratioOfPeak = max(arithmeticRatio, memoryRatio)
            bound = memoryRatio > arithmeticRatio ? .memory : .compute
        }
    }

    init(
        instructionSet: InstructionSet, threads: Int, peaks: MachinePeaks, results: [Result]
    ) {
        let machine = Machine.current()
        let topology = MachineTopology(allowedCPUs: machine.allowedCPUs)
        self.machine = MachineFacts(
            cpuModel: topology.cpuModel, cpus: machine.allowedCPUs.count,
            memoryBytes: topology.memoryByteCount)
        self.instructionSet = instructionSet.rawValue
        self.threads = threads
        self.peaks = DoctorReport.Peaks(peaks)
        kernels = results
    }
}

extension KernelCase {
    /// Whether its rate is stated in bytes rather than in operations.
    fileprivate var countsBytes: Bool {
        switch work {
        case .product(let shape): shape.rows == 1
        case .decodeAttention, .rows: true
        case .prefillAttention: false
        }
    }
}
