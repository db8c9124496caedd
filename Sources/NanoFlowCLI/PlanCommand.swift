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

    @Option(help: "The file; - is standard output.")
    var out = "-"

    func validate() throws {
        try checkWritable(out, option: "--out")
        guard options.engine.plan == nil else {
            throw ValidationError("--plan would be the file that this command writes.")
        }
    }

    func run() async throws {
        do {
            try write()
        } catch let error as NanoFlowError {
            throw failure(error)
        }
    }

    /// Nothing of the weights is loaded: the plans depend on the model's shape and the settings.
    private func write() throws {
        let configuration = options.engine.configuration
        let source = try ModelSource(options.model)
        let settings = try EngineSettings(configuration, source: source, machine: .current())
        let fingerprint = PlanFingerprint(
            source.model, settings, Kernels(configuration.instructionSet ?? .best))
        let graph = OperationGraph.decoder(layerCount: source.model.layerCount)
        let table =
            switch mode {
            case .sequential: PlanTable(.sequential(graph))
            case .nanoBatched: PlanTable(.nanoBatched(graph))
            case .overlapped: PlanTable(.overlapped(graph))
            case .auto: PlanTable.generated(graph)
            }
        let file = PlanFile(table, for: fingerprint)
        if out == "-" {
            FileHandle.standardOutput.write(try file.encoded())
        } else {
            try file.write(to: out)
        }
    }
}
