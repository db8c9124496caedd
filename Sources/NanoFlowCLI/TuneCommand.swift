import ArgumentParser
import Foundation
import NanoDevice
import NanoFlow
import NanoModel
import NanoSearch
import NanoTokenizer

/// `nanoflow tune`: looks for the pipeline plans that are best for a model on this machine.
struct TuneCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tune", abstract: "Finds the best pipeline plans for a model on this machine.",
        discussion: """
            Measures every operation alone and beside others, predicts from that how long a step \
            takes with a plan, searches the plans for the batches that a workload makes, runs the \
            best few for real, and writes the winners where `serve` and the other commands find \
            them. Operations that an earlier run has measured are not measured again. The machine \
            should be idle meanwhile.
            """)

    @OptionGroup var options: ModelOptions

    @OptionGroup var tuning: TuningOptions

    @Option(help: "Write the plans to this file (default: where serve looks for them).")
    var out: String?

    @Option(help: "Write the figures as JSON to this file; - is standard output.")
    var json: String?

    func validate() throws {
        guard options.engine.plan == nil else {
            throw ValidationError("--plan would be what this command looks for.")
        }
        try checkWritable(out, option: "--out")
        try checkWritable(json)
    }

    func run() async throws {
        do {
            try tune()
        } catch let error as NanoFlowError {
            throw failure(error)
        }
    }

    /// No engine is needed: the pipeline runs made-up steps.
    private func tune() throws {
        let configuration = options.engine.configuration
        let source = try ModelSource(options.model)
        let machine = Machine.current()
        let kernels = Kernels(configuration.instructionSet ?? .best)
        let settings = try EngineSettings(configuration, source: source, machine: machine)
        let fingerprint = PlanFingerprint(source.model, settings, kernels)
        let progress = ProgressLine()
        let run = try tuning.run(source, settings, planPath: out)
        let loaded = try LoadedModel(
            source, settings: settings, machine: machine, kernels: kernels
        ) { progress.show($0, $1) }
        let result = run.run(loaded, source, settings, fingerprint) { progress.show($0, $1) }
        progress.clear()
        loaded.stop()
        let report = TuningFigures(result, fingerprint, workload: tuning.workload)
        if json != "-" { print(report.text) }
        if let json { try writeJSON(report, to: json) }
    }
}

/// What plans are tuned for, and for how long.
struct TuningOptions: ParsableArguments {
    @Option(
        help: """
            The requests to tune for: sharegpt, lmsys, splitwise, AxB (A prompt and B completion \
            tokens), or a file: a CSV trace, or JSON as for `bench offline`.
            """)
    var workload = "sharegpt"

    @Option(help: "Requests, for a workload that is no JSON file.")
    var requests = 256

    @Option(help: "Chooses the lengths.")
    var seed: UInt64 = 0

    @Option(help: "Time for tuning, without the loading of the model: 60s, or 2m.")
    var budget = Seconds(count: 60)

    func validate() throws {
        guard (1...100_000).contains(requests) else {
            throw ValidationError("--requests must be 1 to 100000. Given: \(requests).")
        }
        guard (5...86_400).contains(budget.count) else {
            throw ValidationError("--budget must be 5s to 24h. Given: \(budget.text).")
        }
    }

    /// Reads the workload.
    ///
    /// - Throws: ``NanoFlowError`` for one that cannot be read.
    func run(
        _ source: ModelSource, _ settings: EngineSettings, planPath: String? = nil
    ) throws(NanoFlowError) -> TuneRun {
        let length = settings.limits.sequenceLength
        return TuneRun(
            try lengths(source).map { $0.cut(to: length) }, seconds: budget.count,
            planPath: planPath
        ) { printError("nanoflow: \($0)") }
    }

    private func lengths(_ source: ModelSource) throws(NanoFlowError) -> [Workload.Request] {
        if let named = WorkloadLengths(rawValue: workload) {
            return named.requests(count: requests, seed: seed, maxLength: Workload.maxTokenCount)
        }
        if let (prompt, completion) = constant {
            return try Workload(
                promptTokens: prompt, completionTokens: completion, requestCount: requests,
                seed: seed
            ).requests
        }
        if workload.hasSuffix(".csv") {
            return try Workload(
                trace: workload, limits: Workload.TraceLimits(requestCount: requests), seed: seed
            ).requests
        }
        return try Workload(file: workload).requests.map { request in
            let count: Int
            switch request.prompt {
            case .text(let text):
                count = source.tokenizer.encode(
                    text, addSpecialTokens: true, parseSpecialTokens: true
                ).count
            case .tokens(let ids): count = ids.count
            case .random(let tokens): count = tokens
            }
            return Workload.Request(
                prompt: .random(count: max(1, count)), outputLength: request.outputLength)
        }
    }

    private var constant: (Int, Int)? {
        let parts = workload.split(separator: "x", omittingEmptySubsequences: false)
        guard parts.count == 2, let prompt = Int(parts[0]), let completion = Int(parts[1]) else {
            return nil
        }
        return (prompt, completion)
    }
}

/// A length of time: a number with s, m or h; without, seconds.
struct Seconds: ExpressibleByArgument {
    let count: Double

    init(count: Double) { self.count = count }

    init?(argument: String) {
        let units: [Character: Double] = ["s": 1, "m": 60, "h": 3600]
        let unit = argument.last.flatMap { units[$0] }
        guard let number = Double(unit == nil ? argument : String(argument.dropLast())),
            number > 0, number.isFinite
        else { return nil }
        count = number * (unit ?? 1)
    }

    var text: String { "\(format(count, count < 10 ? 1 : 0))s" }
    var defaultValueDescription: String { text }
}
