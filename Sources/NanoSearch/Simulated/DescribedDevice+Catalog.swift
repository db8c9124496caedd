import NanoFlow

extension DescribedDevice {
    package static let all = [a100x8, a100, h100, cpu96]

    /// The paper's operation table: LLaMA-2-70B, 2048 tokens, milliseconds of all 80 layers.
    ///
    /// `estimated` is the work over the peak of the resource that bounds it, `real` what the authors
    /// measured (Zhu et al., NanoFlow, 2024, table of operations).
    private static let operationTable:
        [(kinds: [NanoFlow.Operation.Kind], estimated: Double, real: Double)] = [
            ([.qkvProjection], 11.01, 16.08),
            ([.outputProjection], 8.81, 16.01),
            ([.gateUpProjection], 61.67, 69.92),
            ([.downProjection], 30.84, 34.96),
            ([.decodeAttention], 28.89, 35.60),
            ([.prefillAttention], 0.37, 4.56),
            ([.attentionAllReduce, .feedForwardAllReduce], 31.33, 47.92),
        ]

    /// What is left of the measured times when each of the 80 layers' operations has a fixed part.
    ///
    /// The LM head is not in the table; it counts as the gate and up projection does.
    private static func efficiencies(fixedSeconds: Double) -> [NanoFlow.Operation.Kind: Double] {
        var result: [NanoFlow.Operation.Kind: Double] = [:]
        for row in operationTable {
            let fixed = fixedSeconds * 1e3 * 80 * Double(row.kinds.count)
            for kind in row.kinds { result[kind] = row.estimated / (row.real - fixed) }
        }
        result[.lmHead] = result[.gateUpProjection]
        return result
    }

    /// The paper reports 13.2 % less throughput for nano-batches in sequence: 34.2 of 225 ms more, in
    /// 11 more operations for each of 80 layers (three more of KQV and of decode attention, one more
    /// of each other product, two more collectives).
    private static let a100FixedSeconds = 34.2e-3 / (80 * 11)

    /// GPUs of one kind in f16, with the A100's efficiencies, the authors' released table of
    /// interference beside matrix products, and the part of the peak that products reach.
    private static func gpus(
        _ name: String, _ title: String, count: Int, peak: Double, memoryBandwidth: Double,
        networkBandwidth: Double, fixedSeconds: Double, source: String
    ) -> DescribedDevice {
        DescribedDevice(
            name: name, title: title, count: count, peak: peak, measuredPeakRatio: 260.0 / 312,
            memoryBandwidth: memoryBandwidth, networkBandwidth: networkBandwidth, memory: 80e9,
            parameterByteCount: 2, cachedByteCount: 2,
            efficiencies: efficiencies(fixedSeconds: fixedSeconds), fixedSeconds: fixedSeconds,
            memoryPerformance: [0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95],
            networkPerformance: [0.4, 0.6, 0.7, 0.8, 0.9], source: source)
    }

    package static let a100x8 = gpus(
        "a100x8", "8 x A100 80 GB SXM, NVLink, f16", count: 8, peak: 312e12,
        memoryBandwidth: 2e12, networkBandwidth: 300e9, fixedSeconds: a100FixedSeconds,
        source: """
            Peaks: data sheet. Times of operations: the paper's table for LLaMA-2-70B. P(R): the \
            authors' released table. Fixed time of an operation: from the paper's 13.2 % for \
            nano-batches in sequence. Measured peak: 260 TFLOP/s, from the paper's optimum.
            """)

    /// Assumed: a collective between GPUs is what makes a launch dear.
    private static let singleFixedSeconds = 10e-6

    package static let a100 = gpus(
        "a100", "A100 80 GB, f16", count: 1, peak: 312e12, memoryBandwidth: 2e12,
        networkBandwidth: 300e9, fixedSeconds: singleFixedSeconds,
        source: """
            As a100x8, whose efficiencies are assumed to hold for one GPU and other models. Fixed \
            time of an operation: 10 microseconds, assumed.
            """)

    package static let h100 = gpus(
        "h100", "H100 80 GB SXM, f16", count: 1, peak: 989e12, memoryBandwidth: 3.352e12,
        networkBandwidth: 450e9, fixedSeconds: singleFixedSeconds,
        source: """
            Peaks: data sheet. Efficiencies and P(R): the A100's, assumed. Fixed time of an \
            operation: 10 microseconds, assumed.
            """)

    /// 96 cores at 467 GOP/s in int8, as measured on two cores of a Zen 4 machine, and twelve
    /// channels of DDR5-4800; a core reads 26 GB/s, so that a fifth of the cores reads all there is.
    package static let cpu96 = DescribedDevice(
        name: "cpu96", title: "96 cores, AVX-512 VNNI, 12 x DDR5-4800, int8", count: 1,
        peak: 96 * 467e9, measuredPeakRatio: 1, memoryBandwidth: 460e9, networkBandwidth: 25e9,
        memory: 768e9, parameterByteCount: 1, cachedByteCount: 1,
        efficiencies: [
            .qkvProjection: 0.85, .outputProjection: 0.85, .gateUpProjection: 0.85,
            .downProjection: 0.85, .lmHead: 0.85, .prefillAttention: 0.4, .decodeAttention: 0.7,
        ],
        fixedSeconds: 5e-6,
        memoryPerformance: [0.5, 0.9, 0.95, 0.95, 0.95, 0.95, 0.95, 0.95, 0.95],
        networkPerformance: [0.9],
        source: """
            Assumed throughout: a core's peak and bandwidth as measured on two cores of a Zen 4 \
            machine, 96 times; efficiencies near what this project's kernels reach on two cores \
            of a Zen 5 machine, but prefill's, which is a guess; P(R) as if a fifth of \
            the cores read all that memory gives. Nobody has measured it.
            """)
}
