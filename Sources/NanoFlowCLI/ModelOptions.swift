public import ArgumentParser
import Foundation
import NanoDevice
public import NanoFlow

/// The options that choose a model and what the engine may use.
struct ModelOptions: ParsableArguments {
    @Option(help: "The model: a GGUF file.")
    var model: String

    @OptionGroup var engine: EngineOptions

    var maxNumSeqs: Int { engine.maxNumSeqs }

    /// Loads the model, showing progress on standard error; a failure ends the command.
    func load(
        makePlans: PlanMaker? = nil, serving: AdmissionOptions? = nil
    ) async throws -> LLM {
        var configuration = engine.configuration
        serving?.apply(to: &configuration)
        return try await loadShowingProgress { [configuration] progress in
            try await LLM(
                model: model, configuration: configuration, makePlans: makePlans,
                progress: progress)
        }
    }
}

/// The options that say what the engine may use, whatever the model.
struct EngineOptions: ParsableArguments {
    @OptionGroup var sources: ConfigurationOptions

    @Option(
        help: """
            Arithmetic of the matrix products: f32, bf16 or int8 (default: int8, but f32 with the \
            portable kernels).
            """)
    var precision: Precision?

    @Option(
        help: """
            KV cache: f32 (only with --precision f32), bf16 or int8 (default: as --precision, but \
            bf16 for int8 where heads are no multiple of 4 wide).
            """)
    var kvPrecision: KVPrecision?

    @Option(
        help: """
            Inputs that share a weight scale in int8: 0 (one scale an output), 32, 64, 192, or auto: \
            for each matrix the first of 0, 192 and 64 whose rounding error is at most 0.7 % of \
            the weights (root mean square), or else 64.
            """)
    var groupSize: GroupSize = .auto

    @Option(help: "Execution units (default: the CPUs that this process may use).")
    var threads: Int?

    @Option(
        help: """
            Bytes of the KV cache, as 512M or 8G (default: 40 % of what machine and control group \
            leave, at most what --max-num-seqs sequences of --max-model-len need).
            """)
    var kvCacheMemory: ByteSize?

    @Option(
        help: """
            Kernels: auto (the fastest on this CPU), avx512 (with VNNI and BF16), \
            avx512-vnni, avx2 or portable.
            """)
    var kernels: KernelOption = .auto

    @Option(
        help: """
            Pipeline plans, for --mode auto: tuned (what `nanoflow tune` has found for this model \
            here), default (generated from the model's operations), none (steps run in sequence), or a \
            JSON file as `nanoflow tune` and `nanoflow plan` write it (default: tuned where there \
            are any, or else generated, but none on Intel's CPUs). A file that does not fit is \
            refused, and steps run in sequence. Tuned plans say of how many tokens steps are formed, too, where \
            --max-num-batched-tokens is what they were tuned with.
            """)
    var plan: PlanOption?

    @Flag(
        help: """
            Forget the keys and values of finished requests at once, instead of keeping them while \
            there is room for others with the same beginning.
            """)
    var noPrefixCaching = false

    @Option(
        help: """
            A folder for a file of KV blocks that memory has no room for: conversations go on where \
            they were, after a restart too, and requests that had to give up their memory need not be \
            computed anew. Made for this user alone (default: no disk is used).
            """)
    var kvDiskDir: String?

    @Option(help: "Bytes that the file in --kv-disk-dir may take up, as 512M or 8G.")
    var kvDiskSize = ByteSize(count: 8 << 30)

    @Option(help: "Sequences that run at once.")
    var maxNumSeqs = 256

    @Option(
        help: """
            Tokens in one step. With more, prompts take less time and streams beside them wait \
            longer; 2048 suits work that nobody waits for.
            """)
    var maxNumBatchedTokens = 512

    @Option(help: "Tokens of prompt and completion together (default: the model's context).")
    var maxModelLen: Int?

    /// Throws a usage error where the plans of a file would not be run.
    func checkPlan(mode: PipelineMode) throws {
        guard plan == nil || mode == .auto else {
            throw ValidationError(
                "--plan needs --mode auto; \(mode.rawValue) runs a plan of its own.")
        }
    }

    var configuration: EngineConfiguration {
        var configuration = EngineConfiguration(
            precision: precision, kvPrecision: kvPrecision, groupSize: groupSize.size,
            threadCount: threads, kvCacheByteCount: kvCacheMemory?.count,
            maxSequences: maxNumSeqs, maxBatchedTokens: maxNumBatchedTokens,
            maxModelLength: maxModelLen)
        configuration.instructionSet = kernels.instructionSet
        configuration.reusesPrefixes = !noPrefixCaching
        configuration.diskTier = kvDiskDir.map {
            DiskTierConfiguration(directory: $0, byteCount: kvDiskSize.count)
        }
        configuration.plans = plan?.source ?? .best
        return configuration
    }
}

/// Runs `load` with a progress line on standard error; a failure ends the command.
func loadShowingProgress(
    _ load: (@escaping @Sendable (String, Double) -> Void) async throws -> LLM
) async throws -> LLM {
    let progress = ProgressLine()
    do {
        let llm = try await load { progress.show($0, $1) }
        progress.clear()
        if let refusal = llm.engine.plans.refusal {
            printError("nanoflow: plans are not used (now: \(llm.engine.plans.origin)). \(refusal)")
        }
        return llm
    } catch let error as NanoFlowError {
        progress.clear()
        throw failure(error)
    }
}

/// Prints the error and returns the exit code that goes with it.
func failure(_ error: NanoFlowError) -> ExitCode {
    printError("nanoflow: \(error)")
    return switch error.code {
    case .modelLoading: ExitCode(3)
    case .insufficientMemory: ExitCode(4)
    case .invalidConfiguration: .validationFailure
    default: .failure
    }
}

extension Precision: ExpressibleByArgument {}
extension KVPrecision: ExpressibleByArgument {}

/// `auto`, or an instruction set that this CPU can run.
struct KernelOption: ExpressibleByArgument {
    static let auto = KernelOption(instructionSet: nil)

    let instructionSet: InstructionSet?

    private init(instructionSet: InstructionSet?) { self.instructionSet = instructionSet }

    init?(argument: String) {
        if argument == "auto" {
            self = .auto
        } else if let set = InstructionSet(rawValue: argument), set.isSupported {
            self.init(instructionSet: set)
        } else {
            return nil
        }
    }

    var defaultValueDescription: String { instructionSet?.rawValue ?? "auto" }
}

/// A word for a source of plans, or a file.
struct PlanOption: ExpressibleByArgument {
    let source: PlanSource

    init?(argument: String) {
        switch argument {
        case "": return nil
        case "tuned": source = .tuned
        case "default": source = .generated
        case "none": source = .none
        default: source = .file(argument)
        }
    }
}

/// `auto`, or a number of inputs.
struct GroupSize: ExpressibleByArgument {
    static let auto = GroupSize(size: nil)

    let size: Int?

    private init(size: Int?) { self.size = size }

    init?(argument: String) {
        if argument == "auto" {
            self = .auto
        } else if let size = Int(argument), EngineConfiguration.groupSizes.contains(size) {
            self.init(size: size)
        } else {
            return nil
        }
    }

    var defaultValueDescription: String { size.map(String.init) ?? "auto" }
}

/// A number of bytes, with K, M, G or T for powers of 1024.
struct ByteSize: ExpressibleByArgument {
    let count: Int

    init(count: Int) { self.count = count }

    var defaultValueDescription: String { "\(count >> 30)G" }

    init?(argument: String) {
        let units = ["K": 10, "M": 20, "G": 30, "T": 40]
        let shift = argument.last.flatMap { units[$0.uppercased()] }
        let digits = shift == nil ? argument : String(argument.dropLast())
        guard let number = Double(digits), number > 0, number.isFinite else { return nil }
        guard let count = Int(exactly: (number * Double(1 << (shift ?? 0))).rounded()) else {
            return nil
        }
        self.count = count
    }
}
