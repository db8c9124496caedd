import ArgumentParser
import Foundation
import NanoDevice
import NanoFlow
import NanoModel
import NanoSearch

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

    @Option(
        help: """
            Write the report to this file, a page where it ends in .html and Markdown otherwise \
            (default: both, in the folder of caches).
            """)
    var report: String?

    func validate() throws {
        guard options.engine.plan == nil else {
            throw ValidationError("--plan would be what this command looks for.")
        }
        guard out != "-", report != "-" else {
            throw ValidationError("--out and --report take files, not standard output.")
        }
        try checkWritable(out, option: "--out")
        try checkWritable(report, option: "--report")
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
        let run = try tuning.tunedWorkload.run(source, settings, planPath: out)
        let loaded = try LoadedModel(
            source, settings: settings, machine: machine, kernels: kernels
        ) { progress.show($0, $1) }
        defer { loaded.stop() }
        let result = try run.run(loaded, source, settings, fingerprint) { progress.show($0, $1) }
        progress.clear()
        let figures = TuningFigures(result.tuning, fingerprint, workload: tuning.workload)
        if json != "-" { print(figures.text) }
        if let json { try writeJSON(figures, to: json) }
        let reports = try write(
            TuningReport(result, fingerprint, workload: tuning.workload).document, fingerprint)
        guard let plans = result.planPath else { throw ExitCode.failure }
        if json != "-" {
            print("plans       \(plans)")
            print("report      \(reports.joined(separator: "\n            "))")
        }
    }

    /// Returns the files' paths.
    private func write(
        _ document: ReportDocument, _ fingerprint: PlanFingerprint
    ) throws -> [String] {
        let paths =
            report.map { [$0] }
            ?? ["html", "md"].map {
                TuningFiles.path(.reports, for: fingerprint, fileExtension: $0)
            }
        for path in paths {
            try TuningFiles.makeFolder(for: path)
            let text = path.hasSuffix(".html") ? document.html : document.markdown
            try text.write(toFile: path, atomically: true, encoding: .utf8)
        }
        return paths
    }
}

/// What plans are tuned for, and for how long.
struct TuningOptions: ParsableArguments {
    @Option(
        help: """
            The requests to tune for: sharegpt, lmsys, splitwise, AxB (A prompt and B completion \
            tokens), or a file: a CSV trace, or JSON as for `bench offline`.
            """)
    var workload = TunedWorkload.defaults.name

    @Option(
        help: """
            Requests, for a workload that is no JSON file (default: \
            \(TunedWorkload.defaults.requestCount)).
            """)
    var requests: Int?

    @Option(help: "Chooses the lengths.")
    var seed: UInt64 = TunedWorkload.defaults.seed

    @Option(help: "Time for tuning, without the loading of the model: 60s, or 2m.")
    var budget = Seconds(count: TunedWorkload.defaults.seconds)

    func validate() throws {
        guard requests.map({ (1...100_000).contains($0) }) ?? true else {
            throw ValidationError("--requests must be 1 to 100000. Given: \(requests ?? 0).")
        }
        guard (5...86_400).contains(budget.count) else {
            throw ValidationError("--budget must be 5s to 24h. Given: \(budget.text).")
        }
    }

    var tunedWorkload: TunedWorkload {
        TunedWorkload(
            name: workload, requestCount: requests ?? TunedWorkload.defaults.requestCount,
            isCountGiven: requests != nil, seed: seed, seconds: budget.count)
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
