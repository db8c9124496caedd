import ArgumentParser
import Foundation
import NanoFlow
import NanoModel

/// `nanoflow bench plans`: compares pipeline plans on the same requests.
struct BenchPlansCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plans", abstract: "Compares pipeline plans on the same requests.",
        discussion: """
            The requests are those of `bench offline`. Repetitions of the plans take turns, so that \
            all meet the same noise; ratios are within one turn, to the first of the plans.
            """)

    @OptionGroup var options: BenchModelOptions

    @Option(
        help: "Plans, with commas between: tuned, default, none, and files as --plan takes them.")
    var plans: String

    @Option(help: "Turns of all plans.")
    var repetitions = 3

    @Option(help: "Write the figures as JSON to this file; - is standard output.")
    var json: String?

    private var sources: [(name: String, source: PlanSource)] {
        plans.split(separator: ",", omittingEmptySubsequences: false).compactMap { part in
            PlanOption(argument: String(part)).map { (String(part), $0.source) }
        }
    }

    func validate() throws {
        guard (1...100).contains(repetitions) else {
            throw ValidationError("--repetitions must be 1 to 100. Given: \(repetitions).")
        }
        let names = sources.map(\.name)
        guard !names.isEmpty, Set(names).count == names.count, names.joined(separator: ",") == plans
        else {
            throw ValidationError("--plans must name plans, each once. Given: \(plans).")
        }
        guard options.engine.plan == nil else {
            throw ValidationError("--plans names the plans; --plan does not go with it.")
        }
        try checkWritable(json)
    }

    func run() async throws {
        do {
            let workload = try options.requests.read()
            let llm = try await options.load(workload) { $0.plans = .generated }
            let tables = try tables(llm.engine)
            let run = try OfflineRun(workload, on: llm, ignoresEndOfSequence: true)
            let report = try await measure(run, llm, tables)
            await llm.shutdown()
            if json != "-" { print(report.table) }
            if let json { try writeJSON(report, to: json) }
        } catch let error as NanoFlowError {
            throw failure(error)
        }
    }

    private func tables(_ engine: Engine) throws -> [PlanTable] {
        let graph = OperationGraph.decoder(layerCount: engine.model.layerCount)
        return try sources.map { name, source in
            let chosen = ChosenPlans(source, for: engine.planFingerprint, graph: graph)
            if let refusal = chosen.refusal {
                printError("nanoflow: \(name) cannot be used. \(refusal)")
                throw ExitCode.failure
            }
            return chosen.table ?? .generated(graph)
        }
    }

    private func measure(
        _ run: OfflineRun, _ llm: LLM, _ tables: [PlanTable]
    ) async throws -> PlanComparison {
        try await OfflineRun.warmUp(llm, requestCount: options.engine.maxNumSeqs)
        let before = Peaks(llm.engine)
        var outcomes = tables.map { _ in [OfflineRun.Outcome]() }
        for turn in 1...repetitions {
            for (index, table) in tables.enumerated() {
                llm.engine.inbox.choose(PipelineChoice(plans: table))
                let name = "turn \(turn) of \(repetitions), \(sources[index].name): "
                outcomes[index].append(try await run.showingProgress(llm, name))
            }
        }
        return PlanComparison(
            llm, Array(zip(sources.map(\.name), outcomes)),
            peaks: before.higher(Peaks(llm.engine)))
    }
}

/// The figures of a comparison, as a table and as JSON.
struct PlanComparison: Encodable {
    private let run: RunDescription
    private let figures: Figures

    private struct Figures: Encodable {
        let repetitions: Int
        let promptTokens: Int
        let completionTokens: Int
        let optimalTokensPerSecond: Double
        let plans: [Plan]
    }

    private struct Plan: Encodable {
        let plan: String
        let totalTokensPerSecond: AblationReport.Spread
        let optimalRatio: Double
        /// To the first of the plans, within one turn.
        let turnRatios: AblationReport.Spread
        /// Steps that were cut into nano-batches, of all.
        let cutSteps: Int
        let steps: Int
    }

    init(_ llm: LLM, _ outcomes: [(name: String, runs: [OfflineRun.Outcome])], peaks: Peaks) {
        let load = outcomes[0].runs[0].load
        let optimum = Optimum(load, ModelWork(llm.engine.model), peak: peaks.operations)
        let rates = outcomes.map { $0.runs.map { Double($0.load.tokens) / $0.seconds } }
        let plans = zip(outcomes, rates).map { outcome, own in
            let spread = AblationReport.Spread(own)
            return Plan(
                plan: outcome.name, totalTokensPerSecond: spread,
                optimalRatio: spread.median / optimum.tokensPerSecond,
                turnRatios: AblationReport.Spread(zip(own, rates[0]).map { $0 / $1 }),
                cutSteps: outcome.runs[0].steps.cutSteps, steps: outcome.runs[0].steps.steps)
        }
        run = RunDescription(llm)
        figures = Figures(
            repetitions: outcomes[0].runs.count, promptTokens: load.promptTokens,
            completionTokens: load.completionTokens,
            optimalTokensPerSecond: optimum.tokensPerSecond, plans: plans)
    }

    /// One flat object.
    func encode(to encoder: any Encoder) throws {
        try run.encode(to: encoder)
        try figures.encode(to: encoder)
    }

    var table: String {
        let rows = figures.plans.map { plan -> String in
            let (rate, ratio) = (plan.totalTokensPerSecond, plan.turnRatios)
            return pad(URL(fileURLWithPath: plan.plan).lastPathComponent, 32)
                + pad(format(rate.median, 1), -10)
                + pad(format(rate.min, 1), -10) + pad(format(rate.max, 1), -10)
                + pad(format(plan.optimalRatio * 100, 1) + " %", -10)
                + pad(format(ratio.median, 3), -8)
                + pad("\(format(ratio.min, 3)) to \(format(ratio.max, 3))", -18)
                + pad("\(plan.cutSteps) of \(plan.steps)", -14)
        }
        return """
            model       \(run.model), \(run.precisionText), KV cache \(run.kvPrecision), \
            \(run.threads) threads, \(run.kernels)
            requests    \(figures.promptTokens) prompt and \(figures.completionTokens) completion \
            tokens, \(figures.repetitions) turns
            optimum     \(format(figures.optimalTokensPerSecond, 0)) tokens/s

            \(pad("plans", 32))\(pad("tokens/s", -10))\(pad("min", -10))\(pad("max", -10))\
            \(pad("optimum", -10))\(pad("ratio", -8))\(pad("within a turn", -18))\(pad("cut steps", -14))
            \(rows.joined(separator: "\n"))
            """
    }
}
