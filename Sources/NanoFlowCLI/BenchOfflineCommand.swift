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

    @OptionGroup var options: BenchModelOptions

    @Option(
        help: """
            sequential: one operation after the other; nano-batched: cut, but still one after the \
            other; overlapped: memory-bound operations of one nano-batch beside the products of \
            the other; auto: what the plans say for each batch.
            """)
    var mode: PipelineMode = .auto

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
        guard (1...100).contains(repetitions) else {
            throw ValidationError("--repetitions must be 1 to 100. Given: \(repetitions).")
        }
        try options.engine.checkPlan(mode: mode)
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
            let workload = try options.requests.read()
            let llm = try await options.load(workload) { $0.pipeline.mode = mode }
            let report = try await measure(workload, llm)
            await llm.shutdown()
            if json != "-", saveCompletions != "-" { print(report.table) }
            if let json { try writeJSON(report, to: json) }
        } catch let error as NanoFlowError {
            throw failure(error)
        }
    }

    private func measure(_ workload: Workload, _ llm: LLM) async throws -> OfflineReport {
        let run = try OfflineRun(
            workload, on: llm,
            sampling: sampling,
            ignoresEndOfSequence: ignoreEos || !workload.hasTexts)
        try await OfflineRun.warmUp(llm, requestCount: options.engine.maxNumSeqs)
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
}
