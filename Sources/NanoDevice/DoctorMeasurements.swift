/// The peaks that `nanoflow doctor` measures: of all threads together and of one alone.
package struct DoctorMeasurements: Sendable, Hashable {
    package var threadCount: Int
    package var instructionSet: InstructionSet
    package var allThreads: MachinePeaks
    package var oneThread: MachinePeaks
    /// Bytes a second by number of threads, ascending.
    package var readBandwidths: [ReadBandwidth]

    package struct ReadBandwidth: Sendable, Hashable {
        package var threads: Int
        package var rate: Double

        package init(threads: Int, rate: Double) { (self.threads, self.rate) = (threads, rate) }
    }

    package init(
        threadCount: Int, instructionSet: InstructionSet, allThreads: MachinePeaks,
        oneThread: MachinePeaks, readBandwidths: [ReadBandwidth]
    ) {
        self.threadCount = threadCount
        self.instructionSet = instructionSet
        self.allThreads = allThreads
        self.oneThread = oneThread
        self.readBandwidths = readBandwidths
    }

    /// Measures for about two seconds on a few CPUs.
    ///
    /// `progress` gets what is being done and the share, 0 to 1, that is behind.
    package init(
        threadCount: Int, cpus: [Int], roundDuration: Double = PeakMeasurement.roundDuration,
        progress: (_ activity: String, _ share: Double) -> Void
    ) {
        let set = InstructionSet.best
        let readCounts = Self.readThreadCounts(upTo: threadCount)
        let peakCounts = Set([1, threadCount]).sorted()
        let total = Double(peakCounts.count * PeakKind.allCases.count + readCounts.count + 1)
        var done = 0.0
        func announce(_ activity: String) {
            progress(activity, done / total)
            done += 1
        }
        var peaks: [Int: MachinePeaks] = [:]
        for threads in peakCounts {
            for kind in PeakKind.allCases {
                announce("measuring \(kind) on \(threads) \(threads == 1 ? "thread" : "threads")")
                peaks[threads, default: .zero][kind] = PeakMeasurement.operations(
                    kind, threads: threads, cpus: cpus, instructionSet: set,
                    roundDuration: roundDuration)
            }
        }
        announce("filling memory to read")
        let buffers = ReadBuffers(threads: threadCount, cpus: cpus)
        let rates = readCounts.map { threads in
            announce("reading memory on \(threads) \(threads == 1 ? "thread" : "threads")")
            return buffers.readBandwidth(
                threads: threads, instructionSet: set, roundDuration: roundDuration)
        }
        for (threads, rate) in zip(readCounts, rates) {
            peaks[threads]?.readBandwidth = rate
        }
        self.init(
            threadCount: threadCount, instructionSet: set,
            allThreads: peaks[threadCount] ?? .zero, oneThread: peaks[1] ?? .zero,
            readBandwidths: zip(readCounts, rates).map { ReadBandwidth(threads: $0, rate: $1) })
    }

    /// 1 to 8 one by one, then in doublings, and the last: on many cores each count would take long.
    package static func readThreadCounts(upTo count: Int) -> [Int] {
        let doublings = (4...16).map { 1 << $0 }
        return (Array(1...8) + doublings).filter { $0 < count } + [count]
    }
}
