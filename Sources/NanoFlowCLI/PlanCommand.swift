import ArgumentParser
import Foundation
import NanoDevice
import NanoFlow
import NanoModel

/// `nanoflow plan`: writes the plans that the engine would run, to be read, changed and given back.
struct PlanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Writes the pipeline plans for a model on this machine.",
        discussion: """
            The plans are made from the model's operations: which nano-batches there are, in which \
            order their operations stand in which lane, and what is read from memory beside what. \
            serve, generate and bench take the file with --plan.
            """)

    @OptionGroup var options: ModelOptions

    @Option(help: "auto, or one plan for all batches: sequential, nano-batched or overlapped.")
    var mode: PipelineMode = .auto

    @Option(
        help: """
            Nano-batches of --mode nano-batched and overlapped: their shares of the rows, with \
            commas between, as 0.5,0.5.
            """)
    var shares: String?

    @Option(
        help: """
            Co-issue of --mode overlapped: how much of what attention reads is asked for while \
            products run; 1 spreads it evenly over them.
            """)
    var prefetchRate: Double?

    @Option(
        help: """
            Of the execution units in --mode overlapped, the part that prefers what is bound by \
            memory, instead of co-issue.
            """)
    var memoryShare: Double?

    @Option(help: "The file; - is standard output.")
    var out = "-"

    func validate() throws {
        try checkWritable(out, option: "--out")
        guard options.engine.plan == nil else {
            throw ValidationError("--plan would be the file that this command writes.")
        }
        guard shares == nil || mode == .nanoBatched || mode == .overlapped else {
            throw ValidationError("--shares belongs to --mode nano-batched and overlapped.")
        }
        guard prefetchRate == nil && memoryShare == nil || mode == .overlapped else {
            throw ValidationError(
                "--prefetch-rate and --memory-share belong to --mode overlapped.")
        }
        guard prefetchRate == nil || memoryShare == nil else {
            throw ValidationError("Give one of --prefetch-rate and --memory-share.")
        }
        guard memoryShare.map({ $0 > 0 && $0 < 1 }) ?? true else {
            throw ValidationError("--memory-share must be between 0 and 1.")
        }
        // What else is wrong with the numbers the plan says.
        let graph = OperationGraph.decoder(layerCount: 1)
        if let fault = plan(graph)?.fault(for: graph) { throw ValidationError(fault) }
    }

    func run() async throws {
        do {
            try write()
        } catch let error as NanoFlowError {
            throw failure(error)
        }
    }

    /// The plan for all batches; nil: there are several.
    private func plan(_ graph: OperationGraph) -> PipelinePlan? {
        switch mode {
        case .sequential: .sequential(graph)
        case .nanoBatched: .nanoBatched(graph, numbers)
        case .overlapped: .overlapped(graph, numbers)
        case .auto: nil
        }
    }

    private var numbers: PlanNumbers {
        var numbers = PlanNumbers()
        if let shares {
            numbers.shares = shares.split(separator: ",", omittingEmptySubsequences: false).map {
                Double($0) ?? 0
            }
        }
        if let prefetchRate { numbers.prefetchRate = prefetchRate }
        if let memoryShare {
            (numbers.memoryShare, numbers.prefetchRate) = (memoryShare, 0)
        }
        return numbers
    }

    /// Nothing of the weights is loaded: the plans depend on the model's shape and the settings.
    private func write() throws {
        let configuration = options.engine.configuration
        let source = try ModelSource(options.model)
        let settings = try EngineSettings(configuration, source: source, machine: .current())
        let fingerprint = PlanFingerprint(
            source.model, settings, Kernels(configuration.instructionSet ?? .best))
        let graph = OperationGraph.decoder(layerCount: source.model.layerCount)
        let table = plan(graph).map { PlanTable($0) } ?? .generated(graph)
        let file = PlanFile(table, for: fingerprint)
        if out == "-" {
            FileHandle.standardOutput.write(try file.encoded())
        } else {
            try file.write(to: out)
        }
    }
}
