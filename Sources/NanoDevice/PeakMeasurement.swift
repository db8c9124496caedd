import CNanoKernels

/// The operands of the dot products that a peak counts.
package enum PeakKind: String, Sendable, Hashable, CaseIterable {
    case int8, bf16, f32

    var kernelKind: nk_peak_kind {
        switch self {
        case .int8: NK_PEAK_INT8
        case .bf16: NK_PEAK_BF16
        case .f32: NK_PEAK_F32
        }
    }
}

/// What a number of threads does at most together.
package struct MachinePeaks: Sendable, Hashable {
    /// Operations a second; a multiplication and its addition are two.
    package var int8: Double
    package var bf16: Double
    package var f32: Double
    /// Bytes a second, read from memory in order.
    package var readBandwidth: Double

    package init(int8: Double, bf16: Double, f32: Double, readBandwidth: Double) {
        (self.int8, self.bf16, self.f32) = (int8, bf16, f32)
        self.readBandwidth = readBandwidth
    }

    /// Operations a second with operands of one kind.
    package subscript(kind: PeakKind) -> Double {
        get {
            switch kind {
            case .int8: int8
            case .bf16: bf16
            case .f32: f32
            }
        }
        set {
            switch kind {
            case .int8: int8 = newValue
            case .bf16: bf16 = newValue
            case .f32: f32 = newValue
            }
        }
    }

    static let zero = MachinePeaks(int8: 0, bf16: 0, f32: 0, readBandwidth: 0)
}

/// Measurements of the machine, each of a few tenths of a second.
///
/// They start threads of their own, pinned as ``ExecutionUnits`` pins its units, and may be taken
/// at any time at which the units are idle. Of several rounds the best counts: other processes can
/// only take away from a peak.
package enum PeakMeasurement {
    /// Rounds of a measurement, and the seconds of each.
    package static let roundCount = 5
    package static let roundDuration = 0.04

    // About 50 microseconds of work between two looks at the clock.
    private static let iterationCount: UInt64 = 16_384

    /// Operations a second of `threads` threads together, in registers only.
    ///
    /// The instruction set must be supported.
    package static func operations(
        _ kind: PeakKind, threads: Int, cpus: [Int], instructionSet: InstructionSet = .best,
        roundDuration: Double = roundDuration
    ) -> Double {
        SimultaneousRounds.bestRate(
            threads: threads, cpus: cpus, roundCount: roundCount, duration: roundDuration,
            work: operations(kind, instructionSet))
    }

    /// The work whose rate is the peak of operations.
    static func operations(
        _ kind: PeakKind, _ instructionSet: InstructionSet
    ) -> SimultaneousRounds.Work {
        precondition(
            instructionSet.isSupported, "This CPU does not run \(instructionSet.rawValue).")
        let isa = instructionSet.isa
        return { _, _ in nk_run_peak(isa, kind.kernelKind, iterationCount) }
    }

    /// Bytes a second that `threads` threads together read from memory in order, each from a
    /// buffer of its own that no cache holds.
    package static func readBandwidth(
        threads: Int, cpus: [Int], instructionSet: InstructionSet = .best
    ) -> Double {
        ReadBuffers(threads: threads, cpus: cpus).readBandwidth(
            threads: threads, instructionSet: instructionSet)
    }

    /// All peaks of `threads` threads together.
    package static func peaks(
        threads: Int, cpus: [Int], instructionSet: InstructionSet = .best
    ) -> MachinePeaks {
        let operations = { (kind: PeakKind) in
            Self.operations(kind, threads: threads, cpus: cpus, instructionSet: instructionSet)
        }
        return MachinePeaks(
            int8: operations(.int8), bf16: operations(.bf16), f32: operations(.f32),
            readBandwidth: readBandwidth(
                threads: threads, cpus: cpus, instructionSet: instructionSet))
    }
}

/// Memory to measure the read bandwidth with: a buffer for each thread, first touched by a thread
/// on the same CPU, so that it lies in that CPU's node.
package struct ReadBuffers: Sendable {
    private let cpus: [Int]
    // Keep the memory mapped.
    private let arenas: [MemoryArena]
    private nonisolated(unsafe) let buffers: [UnsafeMutableBufferPointer<UInt8>]

    // Bytes between two looks at the clock.
    private static let chunkByteCount = 1 << 20

    /// Maps and fills a buffer for each of `threads` threads: `byteCount` bytes, by default
    /// ``defaultByteCount(threads:)``, or as many of them as the system gives.
    package init(threads: Int, cpus: [Int], byteCount: Int? = nil) {
        precondition(threads > 0, "Reading takes at least one thread.")
        let wanted = byteCount ?? Self.defaultByteCount(threads: threads, cpus: cpus)
        var chunkCount = max(1, wanted / Self.chunkByteCount)
        var arenas: [MemoryArena] = []
        while arenas.count < threads {
            if let arena = MemoryArena(
                name: "read buffer", byteCount: chunkCount * Self.chunkByteCount)
            {
                arenas.append(arena)
            } else {
                precondition(chunkCount > 1, "The system has no memory left to read.")
                chunkCount /= 2
                arenas = []
            }
        }
        let size = chunkCount * Self.chunkByteCount
        let buffers = arenas.map { $0.cut(UInt8.self, count: size) }
        self.cpus = cpus
        self.arenas = arenas
        self.buffers = buffers
        // Without a page of its own behind it, all of a buffer would be read from one zero page.
        nonisolated(unsafe) let filled = buffers
        SimultaneousRounds.runOnce(threads: threads, cpus: cpus) { filled[$0].update(repeating: 1) }
    }

    /// 256 MiB or twice the last-level cache, but no more than an eighth of the available memory
    /// for all threads together.
    private static func defaultByteCount(threads: Int, cpus: [Int]) -> Int {
        let cache = MachineTopology(allowedCPUs: cpus).lastLevelCacheByteCount
        let available = Machine.current().availableByteCount
        return min(max(256 << 20, cache * 2), available / 8 / threads)
    }

    /// Bytes a second of the first `threads` threads together.
    package func readBandwidth(
        threads: Int, instructionSet: InstructionSet = .best,
        roundDuration: Double = PeakMeasurement.roundDuration
    ) -> Double {
        precondition(threads <= buffers.count, "There is a buffer for \(buffers.count) threads.")
        return SimultaneousRounds.bestRate(
            threads: threads, cpus: cpus, roundCount: PeakMeasurement.roundCount,
            duration: roundDuration, work: reading(instructionSet))
    }

    /// Reads everything once: on a virtual machine the first reading after a while is slow.
    func readOnce(_ instructionSet: InstructionSet) {
        let work = reading(instructionSet)
        SimultaneousRounds.runOnce(threads: buffers.count, cpus: cpus) { thread in
            for chunk in 0..<buffers[thread].count / Self.chunkByteCount { _ = work(thread, chunk) }
        }
    }

    /// The work whose rate is the bandwidth; it keeps the memory mapped.
    func reading(_ instructionSet: InstructionSet) -> SimultaneousRounds.Work {
        precondition(
            instructionSet.isSupported, "This CPU does not run \(instructionSet.rawValue).")
        let isa = instructionSet.isa
        return { [self] thread, chunk in
            let size = Self.chunkByteCount
            let buffer = buffers[thread]
            let start = chunk % (buffer.count / size) * size
            nk_read_all(isa, buffer.baseAddress.map { $0 + start }, size)
            return UInt64(size)
        }
    }
}
