/// Measures kernels against the machine's peaks, all threads at once.
///
/// What else runs on the machine, or beside it on its host, changes its peaks from one moment to the
/// next. So rounds of a kernel and of its peaks take turns, each round is held against the higher of
/// the peaks just before and after it, and of all rounds the median counts. Seconds are those that
/// the threads have their CPUs.
package struct KernelBenchmark {
    private let bench: KernelWorkbench
    private let buffers: ReadBuffers
    private let roundCount: Int
    private let roundDuration: Double
    private var best: [Roof: Double] = [:]

    /// Rounds of a kernel and of each of its peaks, and the seconds of each.
    package static let roundCount = 15
    package static let roundDuration = 0.008

    /// Maps and fills the memory that the kernels work on.
    ///
    /// - Parameters:
    ///   - kernels: What to measure.
    ///   - threads: How many work at once, pinned as ``ExecutionUnits`` pins its units.
    ///   - cpus: The CPUs that this process may run on.
    ///   - byteCount: Of the weights and caches; nil for several times the last-level cache.
    ///   - roundCount: Rounds of each kernel.
    ///   - roundDuration: Seconds of each.
    /// - Throws: ``KernelBenchmarkError`` where the system has no room.
    package init(
        kernels: Kernels, threads: Int, cpus: [Int], byteCount: Int? = nil,
        roundCount: Int = roundCount, roundDuration: Double = roundDuration
    ) throws(KernelBenchmarkError) {
        let size = byteCount ?? RandomMemory.defaultByteCount(threads: threads, cpus: cpus)
        bench = try KernelWorkbench(
            kernels: kernels, threads: threads, cpus: cpus, byteCount: size)
        buffers = ReadBuffers(threads: threads, cpus: cpus, byteCount: byteCount)
        self.roundCount = roundCount
        self.roundDuration = roundDuration
    }

    /// Measures the cases, in their order.
    ///
    /// `progress` gets the case at hand and the share, 0 to 1, that is behind.
    package mutating func run(
        _ cases: [KernelCase], progress: (_ activity: String, _ share: Double) -> Void = { _, _ in }
    ) throws(KernelBenchmarkError) -> KernelBenchmarkReport {
        let bench = bench
        return try run(cases, progress: progress) { kernelCase throws(KernelBenchmarkError) in
            try bench.work(kernelCase)
        }
    }

    /// Measures work that stands for the cases: that of another library.
    package mutating func run(
        _ cases: [KernelCase], progress: (_ activity: String, _ share: Double) -> Void,
        work makeWork: (KernelCase) throws(KernelBenchmarkError) -> any KernelWork
    ) throws(KernelBenchmarkError) -> KernelBenchmarkReport {
        var results: [KernelBenchmarkReport.Result] = []
        for (index, kernelCase) in cases.enumerated() {
            progress(
                "\(kernelCase.name) \(kernelCase.shape)", Double(index) / Double(cases.count))
            let work = try makeWork(kernelCase)
            let measurement = measure(work, kernelCase.roofs)
            for (roof, rates) in measurement.roofs {
                best[roof] = max(best[roof] ?? 0, rates.max() ?? 0)
            }
            results.append(result(kernelCase, work, measurement))
        }
        measureOtherPeaks()
        return report(results)
    }

    /// Those that no kernel was held against.
    private mutating func measureOtherPeaks() {
        let (threads, cpus) = (bench.threads, bench.cpus)
        let set = bench.kernels.instructionSet
        for kind in PeakKind.allCases where best[.arithmetic(kind)] == nil {
            best[.arithmetic(kind)] = PeakMeasurement.operations(
                kind, threads: threads, cpus: cpus, instructionSet: set,
                roundDuration: roundDuration)
        }
        guard best[.reading] == nil else { return }
        buffers.readOnce(set)
        best[.reading] = buffers.readBandwidth(
            threads: threads, instructionSet: set, roundDuration: roundDuration)
    }

    /// Runs the work and its roofs in turn.
    private func measure(_ work: any KernelWork, _ roofs: [Roof]) -> Measurement {
        let peaks = roofs.map { roof in
            switch roof {
            case .arithmetic(let kind):
                PeakMeasurement.operations(kind, bench.kernels.instructionSet)
            case .reading: buffers.reading(bench.kernels.instructionSet)
            }
        }
        if roofs.contains(.reading) { buffers.readOnce(bench.kernels.instructionSet) }
        let kernel: SimultaneousRounds.Work = { work.run(thread: $0, chunk: $1) }
        let rates = SimultaneousRounds.rates(
            threads: bench.threads, cpus: bench.cpus, roundCount: roundCount,
            works: [kernel] + peaks, duration: roundDuration, clock: .processor)
        return Measurement(
            kernel: rates[0],
            roofs: Dictionary(uniqueKeysWithValues: zip(roofs, rates.dropFirst())))
    }

    private func result(
        _ kernelCase: KernelCase, _ work: any KernelWork, _ measurement: Measurement
    ) -> KernelBenchmarkReport.Result {
        let portions = median(measurement.kernel)
        return KernelBenchmarkReport.Result(
            kernelCase, kernel: bench.kernels.name,
            operationsPerSecond: portions * work.operationsPerPortion,
            bytesPerSecond: portions * work.bytesPerPortion,
            arithmeticRatio: work.operationsPerPortion
                * measurement.ratio(to: .arithmetic(kernelCase.arithmetic)),
            memoryRatio: work.bytesPerPortion * measurement.ratio(to: .reading))
    }

    private func report(_ results: [KernelBenchmarkReport.Result]) -> KernelBenchmarkReport {
        let peak = { (roof: Roof) in best[roof] ?? 0 }
        let peaks = MachinePeaks(
            int8: peak(.arithmetic(.int8)), bf16: peak(.arithmetic(.bf16)),
            f32: peak(.arithmetic(.f32)), readBandwidth: peak(.reading))
        return KernelBenchmarkReport(
            instructionSet: bench.kernels.instructionSet, threads: bench.threads, peaks: peaks,
            results: results)
    }
}

/// Rates in the rounds of a kernel and of what may bound it.
private struct Measurement {
    let kernel: [Double]
    let roofs: [Roof: [Double]]

    /// The median of the rounds' ratios, each to the higher of the peaks before and after it; 0
    /// where the roof was not measured.
    func ratio(to roof: Roof) -> Double {
        guard let peaks = roofs[roof] else { return 0 }
        return median(
            kernel.indices.map { kernel[$0] / max(peaks[max(0, $0 - 1)], peaks[$0]) })
    }
}

/// The middle value; of an even number of values the upper one of the two.
private func median(_ values: [Double]) -> Double {
    values.sorted()[values.count / 2]
}

/// What may bound a kernel.
private enum Roof: Hashable {
    case arithmetic(PeakKind)
    case reading
}

extension KernelCase {
    fileprivate var roofs: [Roof] {
        switch work {
        case .product(let shape):
            [.arithmetic(arithmetic)]
                + (ProductWork.isBoundByMemory(rows: shape.rows) ? [.reading] : [])
        case .decodeAttention: [.arithmetic(arithmetic), .reading]
        case .prefillAttention: [.arithmetic(arithmetic)]
        case .rows: [.reading]
        }
    }
}
