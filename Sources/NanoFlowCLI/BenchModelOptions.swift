import ArgumentParser
import Foundation
import NanoDevice
import NanoFlow
import NanoModel

/// The options that choose a benchmark's model, real or of random weights, and its requests.
struct BenchModelOptions: ParsableArguments {
    @Option(help: "The model: a GGUF file.")
    var model: String?

    @Option(
        help: ArgumentHelp(
            "A published shape with random weights, instead of --model.", valueName: "name"))
    var shape: PublishedShape?

    @Option(help: "Layers of --shape (default: all).")
    var layers: Int?

    @OptionGroup var requests: BenchWorkloadOptions

    @OptionGroup var engine: EngineOptions

    func validate() throws {
        guard (model == nil) != (shape == nil) else {
            throw ValidationError("Give one of --model and --shape.")
        }
        guard layers == nil || shape != nil else {
            throw ValidationError("--layers belongs to --shape.")
        }
    }

    /// Loads what is to run the workload, after `change` has had its say.
    func load(
        _ workload: Workload, _ change: (inout EngineConfiguration) -> Void = { _ in }
    ) async throws -> LLM {
        var configuration = engine.configuration
        configuration.maxQueuedRequests = max(
            configuration.maxQueuedRequests, workload.requests.count)
        change(&configuration)
        if let model {
            return try await loadShowingProgress { [configuration] progress in
                try await LLM(model: model, configuration: configuration, progress: progress)
            }
        }
        guard let shape else { preconditionFailure("Validation asks for a model or a shape.") }
        guard let length = workload.maxSequenceLength else {
            throw NanoFlowError(
                .invalidConfiguration, field: "workload",
                limit: "token ids, as a --shape has no tokenizer", given: "text prompts")
        }
        // The published context would take a cache that the workload has no use for.
        configuration.maxModelLength = configuration.maxModelLength ?? length
        return try await loadShowingProgress { [configuration, layers] progress in
            try await LLM(configuration: configuration, progress: progress) {
                try ModelSource(shape, layerCount: layers)
            }
        }
    }
}

extension PublishedShape: ExpressibleByArgument {}

extension PipelineMode: ExpressibleByArgument {}

/// What the machine does at most with the engine's threads, at the engine's precision.
struct Peaks {
    /// Operations a second.
    let operations: Double
    /// Bytes a second.
    let readBandwidth: Double

    /// Measures them; the engine must be idle.
    init(_ engine: Engine) {
        let roofs = PipelineDrawing.Roofs(measuredWith: engine.settings)
        (operations, readBandwidth) = (roofs.operations, roofs.bytes)
    }

    private init(operations: Double, readBandwidth: Double) {
        self.operations = operations
        self.readBandwidth = readBandwidth
    }

    func higher(_ other: Peaks) -> Peaks {
        Peaks(
            operations: max(operations, other.operations),
            readBandwidth: max(readBandwidth, other.readBandwidth))
    }
}

extension OfflineRun {
    /// Touches the code and the buffers once.
    static func warmUp(_ llm: LLM, requestCount: Int) async throws {
        let length = min(16, llm.maxModelLength - 1)
        let workload = try Workload(
            promptTokens: max(1, length / 2), completionTokens: max(1, length / 2),
            requestCount: min(8, requestCount), seed: 1)
        _ = try await OfflineRun(workload, on: llm, ignoresEndOfSequence: true).run()
    }

    /// Runs with a line on standard error that says how many tokens are done, and how fast.
    func showingProgress(_ llm: LLM, _ what: String = "") async throws -> Outcome {
        let progress = ProgressLine()
        let counters = llm.engine.counters
        let first = counters.sums.tokens
        let all = maxComputedTokens
        let start = ContinuousClock.now
        // Rare enough not to show in the figures; a log needs fewer lines than a terminal.
        let period = Duration.seconds(progress.isTerminal ? 1 : 10)
        let reporter = Task {
            while true {
                try await Task.sleep(for: period)
                let done = counters.sums.tokens - first
                let seconds = start.duration(to: .now) / .seconds(1)
                let rate = Int(Double(done) / seconds)
                progress.show(
                    "\(what)\(done) of \(all) tokens, \(rate) a second",
                    Double(done) / Double(max(all, 1))
                )
            }
        }
        defer {
            reporter.cancel()
            progress.clear()
        }
        return try await run()
    }
}
