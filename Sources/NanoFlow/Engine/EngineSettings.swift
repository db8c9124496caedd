package import CNanoKernels
package import NanoDevice
import NanoModel

/// The configuration with every choice made: what this model on this machine will run with.
package struct EngineSettings: Sendable {
    package let precision: Precision
    package let kvPrecision: KVPrecision
    /// What each matrix is stored in: the coarsest that keeps ``FormatChoice/errorBound``, or else the
    /// last one, which is the finest.
    package let formats: [MatrixFormat]
    /// The format that activations must have room for.
    package var format: MatrixFormat { formats[formats.count - 1] }
    /// "int8", where each matrix chooses its groups, or "int8 in groups of 64".
    package var formatText: String {
        guard formats.count == 1, case .int8(let size) = formats[0] else {
            return precision.rawValue
        }
        return size > Self.oneScale / 2
            ? "int8 with one scale an output" : "int8 in groups of \(size)"
    }
    package let threadCount: Int
    package let limits: Scheduler.Limits
    package let pipeline: PipelineChoice
    package let serving: ServingChoice
    package let budget: MemoryBudget
    package let kvCacheByteCount: Int
    /// Tokens of prompts that run or wait.
    package let maxQueuedTokens: Int

    /// What a request takes beside its tokens: its events, its connection, its texts.
    private static let byteCountPerRequest = 16 << 10
    /// A prompt's token as the server and the engine keep it, and its text.
    private static let byteCountPerToken = 20
    /// Events that a slow client has not taken.
    private static let byteCountPerStream = 256 << 10
    /// What is known of a block on disk, its name twice among it.
    private static let byteCountPerDiskSlot = 192
    /// Code, libraries, stacks, what the allocator has and does not use.
    private static let programByteCount = 96 << 20
    private static let byteCountPerVocabularyEntry = 1 << 10

    /// int8 groups that each matrix chooses from when nobody says otherwise: one scale an output,
    /// groups of 192, groups of 64.
    private static let automaticGroupSizes = [0, 192, 64]

    /// Makes the choices.
    ///
    /// - Throws: ``NanoFlowError`` for a value out of range, and when memory does not suffice.
    package init(
        _ configuration: EngineConfiguration, source: ModelSource, machine: Machine
    ) throws(NanoFlowError) {
        let model = source.model
        try configuration.validate(model)
        precision =
            configuration.precision
            ?? Self.fastestPrecision(configuration.instructionSet ?? .best)
        kvPrecision = try Self.kvPrecision(
            configuration.kvPrecision, precision, headDimension: model.headDimension)
        formats =
            switch precision {
            case .f32: [.f32]
            case .bf16: [.bf16]
            case .int8:
                (configuration.groupSize.map { [$0] } ?? Self.automaticGroupSizes).map(
                    Self.int8)
            }
        pipeline = configuration.pipeline
        serving = configuration.serving
        threadCount = configuration.threadCount ?? machine.usableThreadCount
        let length = configuration.maxModelLength ?? model.contextLength
        var limits = Scheduler.Limits(
            sequences: configuration.maxSequences,
            batchedTokens: configuration.maxBatchedTokens,
            logitRows: min(configuration.maxBatchedTokens, max(configuration.maxSequences, 64)),
            blockSize: KVArena.blockSize, blockCount: 1, sequenceLength: length)
        var budget = MemoryBudget(availableByteCount: machine.availableByteCount)
        budget.add("weights", try source.weightPlan(formats).byteCount)
        let finest = formats[formats.count - 1]
        budget.add(
            "activations and tables",
            Pipeline.byteCount(model, limits, format: finest, unitCount: threadCount))
        let block = KVArena.blockByteCount(
            layers: model.layerCount, kvHeads: model.kvHeadCount,
            headDimension: model.headDimension, type: kvPrecision.kernelType)
        maxQueuedTokens = max(configuration.maxQueuedTokens, length)
        if let disk = configuration.diskTier {
            let slots = BlockLayout(payloadByteCount: block).slotCount(
                fileByteCount: disk.byteCount)
            budget.add(
                "disk tier",
                BlockFile.stagingByteCount(payloadByteCount: block)
                    + slots * Self.byteCountPerDiskSlot,
                isArena: false)
        }
        let requests = configuration.maxQueuedRequests + configuration.maxSequences
        budget.add(
            "requests",
            requests * Self.byteCountPerRequest + maxQueuedTokens * Self.byteCountPerToken
                + limits.sequences * Self.byteCountPerStream + ServingChoice.bodiesByteCount,
            isArena: false)
        budget.add(
            "program and tokenizer",
            Self.programByteCount + model.vocabularyCount * Self.byteCountPerVocabularyEntry,
            isArena: false)
        limits.blockCount = try Self.blockCount(
            configuration, limits, blockByteCount: block,
            left: machine.availableByteCount - budget.totalByteCount)
        kvCacheByteCount = limits.blockCount * block
        budget.add("KV cache", kvCacheByteCount)
        try budget.check()
        self.limits = limits
        self.budget = budget
    }

    /// The wanted one; nil: as the products, but bf16 where the heads do not fill the words of int8.
    ///
    /// - Throws: ``NanoFlowError`` for one that does not go with the rest.
    package static func kvPrecision(
        _ wanted: KVPrecision?, _ precision: Precision, headDimension: Int
    ) throws(NanoFlowError) -> KVPrecision {
        let fillsWords = headDimension % 4 == 0
        guard wanted != .f32 || precision == .f32 else {
            throw NanoFlowError(
                .invalidConfiguration, field: "kv-precision",
                limit: "bf16 or int8 with --precision \(precision.rawValue)", given: "f32")
        }
        guard wanted != .int8 || fillsWords else {
            throw NanoFlowError(
                .invalidConfiguration, field: "kv-precision",
                limit: "f32 or bf16 for heads of \(headDimension) dimensions, no multiple of 4",
                given: "int8")
        }
        if let wanted { return wanted }
        return switch precision {
        case .f32: .f32
        case .bf16: .bf16
        case .int8: fillsWords ? .int8 : .bf16
        }
    }

    /// int8, but f32 with the portable kernels, which are there to be right.
    private static func fastestPrecision(_ instructionSet: InstructionSet) -> Precision {
        instructionSet == .portable ? .f32 : .int8
    }

    /// 0 asks for one scale per output, which any group longer than a row is.
    private static func int8(_ groupSize: Int) -> MatrixFormat {
        .int8(groupSize: groupSize == 0 ? oneScale : groupSize)
    }

    private static let oneScale = 1 << 24

    private static func blockCount(
        _ configuration: EngineConfiguration, _ limits: Scheduler.Limits, blockByteCount: Int,
        left: Int
    ) throws(NanoFlowError) -> Int {
        let perSequence = limits.blocks(for: limits.sequenceLength)
        let useful = limits.sequences * perSequence
        let granted = configuration.kvCacheByteCount ?? max(0, left) / 10 * 4
        let count = min(useful, granted / blockByteCount)
        guard count >= perSequence else {
            throw NanoFlowError(
                .insufficientMemory, field: "kv-cache-memory",
                limit: "at least \(bytes(perSequence * blockByteCount))", given: bytes(granted),
                message: "The KV cache must hold one sequence of \(limits.sequenceLength) tokens: "
                    + "\(perSequence) blocks x \(bytes(blockByteCount)) = "
                    + "\(bytes(perSequence * blockByteCount)). It may take \(bytes(granted)). "
                    + "A smaller --max-model-len needs less.")
        }
        return count
    }
}

extension KVPrecision {
    package var kernelType: nk_kv_type {
        switch self {
        case .f32: NK_KV_F32
        case .bf16: NK_KV_BF16
        case .int8: NK_KV_INT8
        }
    }
}

extension EngineConfiguration {
    /// The group sizes that int8 matrices can have; 0 is one scale per output.
    package static let groupSizes = [0, 32, 64, 192]

    fileprivate func validate(_ model: ModelConfiguration) throws(NanoFlowError) {
        try Self.check("max-num-seqs", maxSequences, 1...4096)
        try Self.check("max-num-batched-tokens", maxBatchedTokens, 1...65_536)
        try Self.check("max-queued-requests", maxQueuedRequests, 1...1_000_000)
        try Self.check("max-queued-tokens", maxQueuedTokens, 1...1_000_000_000)
        if diskTier != nil, !reusesPrefixes {
            throw NanoFlowError(
                .invalidConfiguration, field: "kv-disk-dir", limit: "prefix caching turned on",
                given: "no prefix caching",
                message: "The disk tier keeps blocks by the names that prefix caching gives them; "
                    + "--no-prefix-caching turns that off.")
        }
        if let share = serving.prefillShare {
            try Self.check("prefill-share", share, 0.01...1000)
        }
        if let seconds = serving.maxWaitingSeconds {
            try Self.check("max-waiting-time", seconds, 0.001...1e6)
        }
        if let threadCount { try Self.check("threads", threadCount, 1...1024) }
        if let maxModelLength {
            try Self.check("max-model-len", maxModelLength, 2...model.contextLength)
        }
        if let kvCacheByteCount {
            try Self.check("kv-cache-memory", kvCacheByteCount, 1...(1 << 50))
        }
        if let groupSize, !Self.groupSizes.contains(groupSize) {
            throw NanoFlowError(
                .invalidConfiguration, field: "group-size", limit: "auto, 0, 32, 64 or 192",
                given: "\(groupSize)")
        }
    }

    private static func check<Value: Comparable>(
        _ field: String, _ value: Value, _ range: ClosedRange<Value>
    ) throws(NanoFlowError) {
        guard range.contains(value) else {
            throw NanoFlowError(
                .invalidConfiguration, field: field,
                limit: "\(range.lowerBound) to \(range.upperBound)", given: "\(value)")
        }
    }
}
