package import NanoDevice

/// The arithmetic of the matrix products.
public enum Precision: String, Sendable, Hashable, CaseIterable {
    /// 32-bit floats throughout: the reference.
    case f32
    /// bfloat16 weights and activations, f32 accumulation.
    case bf16
    /// 8-bit integers with one scale per group of inputs, for weights and for activations.
    case int8
}

extension Precision {
    /// The dot product whose peak is that of the matrix products.
    package var peakKind: PeakKind {
        switch self {
        case .int8: .int8
        case .bf16: .bf16
        case .f32: .f32
        }
    }
}

/// How keys and values are stored in the KV cache.
public enum KVPrecision: String, Sendable, Hashable, CaseIterable {
    /// 32-bit floats; only with `Precision.f32`.
    case f32
    /// bfloat16.
    case bf16
    /// 8-bit integers with one scale per token and head, for keys and for values.
    case int8
}

/// How steps are formed and run.
package struct PipelineChoice: Sendable, Hashable {
    package var mode: PipelineMode
    /// Tokens in one step, at most; nil: as many as the plans say, or the engine has room for.
    package var tokenBudget: Int?
    /// Whether a step is formed while the one before it runs.
    package var schedulesAhead: Bool
    /// What ``PipelineMode/auto`` chooses from; nil: the plans that the engine was started with.
    package var plans: PlanTable?

    package init(
        mode: PipelineMode = .auto, tokenBudget: Int? = nil, schedulesAhead: Bool = true,
        plans: PlanTable? = nil
    ) {
        self.plans = plans
        self.mode = mode
        self.tokenBudget = tokenBudget
        self.schedulesAhead = schedulesAhead
    }
}

/// What is asked of an engine that many wait for.
package struct ServingChoice: Sendable, Hashable {
    /// Bytes that the bodies of a server's requests may take up together until they are tokenized.
    package static let bodiesByteCount = 64 << 20

    /// Time that the prompts in a step may take, in that of the completions in it; nil: no bound.
    package var prefillShare: Double?
    /// Seconds that a request may wait before it begins, and that the requests before it may be
    /// predicted to take when it comes; nil: any time.
    package var maxWaitingSeconds: Double?

    package init(prefillShare: Double? = nil, maxWaitingSeconds: Double? = nil) {
        self.prefillShare = prefillShare
        self.maxWaitingSeconds = maxWaitingSeconds
    }
}

/// What the engine is to use of the machine, and its limits.
public struct EngineConfiguration: Sendable, Hashable {
    /// nil: int8, but f32 with the portable kernels.
    public var precision: Precision?
    /// nil: the same as the precision, but bf16 for int8 where heads are no multiple of 4 wide.
    public var kvPrecision: KVPrecision?
    /// Inputs that share a scale in int8: 32, 64, 192, or 0 for one scale per output; nil chooses.
    public var groupSize: Int?
    /// Execution units; nil: the CPUs that this process may use.
    public var threadCount: Int?
    /// Bytes of the KV cache; nil: 40 % of what machine and cgroup leave, at most what
    /// `maxSequences` sequences of the longest length need.
    public var kvCacheByteCount: Int?
    /// Sequences that run at once.
    public var maxSequences: Int
    /// Tokens in one step.
    public var maxBatchedTokens: Int
    /// Tokens of prompt and completion together; nil: the model's context.
    public var maxModelLength: Int?
    /// Requests that may wait.
    public var maxQueuedRequests: Int
    /// Tokens of prompts that may run or wait; one prompt of the longest length always may.
    public var maxQueuedTokens = 2 << 20
    /// What is asked of an engine that many wait for.
    package var serving = ServingChoice()
    /// Where blocks go that memory has no room for; nil: they are computed anew.
    public var diskTier: DiskTierConfiguration?
    /// Whether the keys and values of finished requests are kept, as long as there is room, for
    /// others with the same beginning.
    public var reusesPrefixes = true
    /// How steps are run.
    package var pipeline = PipelineChoice()
    /// The plans to choose from in ``PipelineMode/auto``.
    package var plans = PlanSource.best
    /// The kernels to run; nil: the fastest on this CPU.
    package var instructionSet: InstructionSet?

    /// The defaults suit a machine that serves one model.
    public init(
        precision: Precision? = nil, kvPrecision: KVPrecision? = nil, groupSize: Int? = nil,
        threadCount: Int? = nil, kvCacheByteCount: Int? = nil, maxSequences: Int = 256,
        maxBatchedTokens: Int = 512, maxModelLength: Int? = nil, maxQueuedRequests: Int = 4096
    ) {
        self.precision = precision
        self.kvPrecision = kvPrecision
        self.groupSize = groupSize
        self.threadCount = threadCount
        self.kvCacheByteCount = kvCacheByteCount
        self.maxSequences = maxSequences
        self.maxBatchedTokens = maxBatchedTokens
        self.maxModelLength = maxModelLength
        self.maxQueuedRequests = maxQueuedRequests
    }
}
