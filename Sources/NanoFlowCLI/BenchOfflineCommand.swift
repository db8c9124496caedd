import ArgumentParser
import Foundation
import NanoDevice
import NanoFlow
import NanoModel

/// `nanoflow bench offline`: throughput of a batch of requests, beside what the machine allows.
struct BenchOfflineCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "offline", abstract: "Runs requests that all arrive at once.",
        discussion: """
            Greedy, unless --temperature is given. Completions of token ids and random prompts \
            ignore end-of-sequence tokens and have their full length; completions of text prompts \
            end with them, unless --ignore-eos is given. The time is that from the first submission to the last token, \
            after the model is loaded and a short run has warmed it up.

            The optimum is the measured peak of the precision's dot product, divided by what the \
            matrix products of a token take. What is attainable counts attention and memory \
            traffic, too, with perfect overlap.
            """)

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

    @Option(help: "How operations are ordered.")
    var mode: BenchMode = .sequential

    @Option(help: "Draw tokens at this temperature, each request from a seed of its own.")
    var temperature: Double?

    @Option(help: "Draw from the likeliest tokens whose probability reaches this.")
    var topP: Double?

    private var sampling: SamplingParameters {
        SamplingParameters(temperature: temperature ?? 0, topP: topP ?? 1)
    }

    @Flag(help: "Go on after end-of-sequence tokens with text prompts, too.")
    var ignoreEos = false

    @Option(help: "Run so often, and report the median.")
    var repetitions = 1

    @Option(help: "Write the figures as JSON to this file; - is standard output.")
    var json: String?

    @Option(help: "Write the completions as JSON lines to this file, in the requests' order.")
    var saveCompletions: String?

    func validate() throws {
        guard (model == nil) != (shape == nil) else {
            throw ValidationError("Give one of --model and --shape.")
        }
        guard layers == nil || shape != nil else {
            throw ValidationError("--layers belongs to --shape.")
        }
        guard (1...100).contains(repetitions) else {
            throw ValidationError("--repetitions must be 1 to 100. Given: \(repetitions).")
        }
        guard topP == nil || temperature != nil else {
            throw ValidationError("--top-p belongs to --temperature.")
        }
        do {
            try sampling.validate(vocabularyCount: Int(Int32.max))
        } catch {
            throw ValidationError("\(error)")
        }
        try checkWritable(json)
        try checkWritable(saveCompletions, option: "--save-completions")
    }

    func run() async throws {
        do {
            let workload = try requests.read()
            let llm = try await load(workload)
            let report = try await measure(workload, llm)
            await llm.shutdown()
            if json != "-", saveCompletions != "-" { print(report.table) }
            if let json { try writeJSON(report, to: json) }
        } catch let error as NanoFlowError {
            throw failure(error)
        }
    }

    private func load(_ workload: Workload) async throws -> LLM {
        var configuration = engine.configuration
        configuration.maxQueuedRequests = max(
            configuration.maxQueuedRequests, workload.requests.count)
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

    private func measure(_ workload: Workload, _ llm: LLM) async throws -> OfflineReport {
        let run = try OfflineRun(
            workload, on: llm,
            sampling: sampling,
            ignoresEndOfSequence: ignoreEos || !workload.hasTexts)
        try await warmUp(llm)
        let before = Peaks(llm.engine)
        var outcomes: [OfflineRun.Outcome] = []
        for _ in 0..<repetitions {
            outcomes.append(try await run.showingProgress(llm))
        }
        let peaks = before.higher(Peaks(llm.engine))
        outcomes.sort { $0.seconds < $1.seconds }
        let median = outcomes[(outcomes.count - 1) / 2]
        if let saveCompletions {
            try CompletionLines(median.answers, withTexts: workload.hasTexts)
                .write(to: saveCompletions)
        }
        return OfflineReport(
            llm, median, peaks, mode: mode, sampling: sampling,
            repetitions: outcomes.map(\.seconds))
    }

    /// Touches the code and the buffers once.
    private func warmUp(_ llm: LLM) async throws {
        let length = min(16, llm.maxModelLength - 1)
        let workload = try Workload(
            promptTokens: max(1, length / 2), completionTokens: max(1, length / 2),
            requestCount: min(8, engine.maxNumSeqs), seed: 1)
        _ = try await OfflineRun(workload, on: llm, ignoresEndOfSequence: true).run()
    }
}

extension PublishedShape: ExpressibleByArgument {}

/// The order of operations; others than one after the other come with plans.
enum BenchMode: String, ExpressibleByArgument, CaseIterable, Encodable {
    case sequential
}

/// What the machine does at most with the engine's threads, at the engine's precision.
struct Peaks {
    /// Operations a second.
    let operations: Double
    /// Bytes a second.
    let readBandwidth: Double

    /// Measures them; the engine must be idle.
    init(_ engine: Engine) {
        let threads = engine.settings.threadCount
        let cpus = engine.machine.allowedCPUs
        let kind: PeakKind =
            switch engine.settings.precision {
            case .int8: .int8
            case .bf16: .bf16
            case .f32: .f32
            }
        operations = PeakMeasurement.operations(kind, threads: threads, cpus: cpus)
        readBandwidth = PeakMeasurement.readBandwidth(threads: threads, cpus: cpus)
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
    /// Runs with a line on standard error that says how many tokens are done, and how fast.
    fileprivate func showingProgress(_ llm: LLM) async throws -> Outcome {
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
                    "\(done) of \(all) tokens, \(rate) a second", Double(done) / Double(max(all, 1))
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
