import ArgumentParser
import Foundation
import NanoDevice
import NanoFlow

/// `nanoflow bench ablation`: what each part of the pipeline brings, on one workload.
struct BenchAblationCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ablation",
        abstract: "Compares sequential, nano-batched and overlapped steps on the same requests.",
        discussion: """
            The requests are those of `bench offline`. Every mode runs at the token budget at which \
            it is fastest in a trial run. Repetitions of the modes take turns, so that all meet the \
            same noise; the ratios are those of the medians, and round_ratios those within one turn.
            """)

    @OptionGroup var options: BenchModelOptions

    @Option(help: "Turns of all modes.")
    var repetitions = 3

    @Option(
        help: """
            Tokens in one step that are tried for each mode, with commas between (default: \
            --max-num-batched-tokens).
            """)
    var tokenBudgets: String?

    @Option(help: "Write the figures as JSON to this file; - is standard output.")
    var json: String?

    private var budgetTexts: [Substring] {
        tokenBudgets?.split(separator: ",", omittingEmptySubsequences: false) ?? []
    }

    private var budgets: [Int] {
        let texts = budgetTexts
        return texts.isEmpty ? [options.engine.maxNumBatchedTokens] : texts.compactMap { Int($0) }
    }

    func validate() throws {
        guard (1...100).contains(repetitions) else {
            throw ValidationError("--repetitions must be 1 to 100. Given: \(repetitions).")
        }
        guard budgets.count == max(1, budgetTexts.count),
            budgets.allSatisfy({ (1...65_536).contains($0) })
        else {
            throw ValidationError(
                "--token-budgets must be numbers from 1 to 65536, as 256,512. "
                    + "Given: \(tokenBudgets ?? "").")
        }
        guard options.engine.plan == nil else {
            throw ValidationError(
                "The modes have plans of their own; --plan does not go with them.")
        }
        try checkWritable(json)
    }

    func run() async throws {
        do {
            let workload = try options.requests.read()
            let llm = try await options.load(workload) {
                $0.maxBatchedTokens = budgets.max() ?? $0.maxBatchedTokens
            }
            let run = try OfflineRun(workload, on: llm, ignoresEndOfSequence: true)
            let report = try await measure(run, llm)
            await llm.shutdown()
            if json != "-" { print(report.table) }
            if let json { try writeJSON(report, to: json) }
        } catch let error as NanoFlowError {
            throw failure(error)
        }
    }

    private func measure(_ run: OfflineRun, _ llm: LLM) async throws -> AblationReport {
        try await OfflineRun.warmUp(llm, requestCount: options.engine.maxNumSeqs)
        let before = Peaks(llm.engine)
        var chosen: [AblationMode: Int] = [:]
        for mode in AblationMode.allCases {
            chosen[mode] = try await fastestBudget(mode, run, llm, chosen)
        }
        var outcomes: [AblationMode: [OfflineRun.Outcome]] = [:]
        for turn in 1...repetitions {
            for mode in AblationMode.allCases {
                let name = "turn \(turn) of \(repetitions), \(mode.rawValue): "
                outcomes[mode, default: []].append(
                    try await self.run(run, mode, chosen[mode], llm, name))
            }
        }
        return AblationReport(
            llm, outcomes, budgets: chosen, peaks: before.higher(Peaks(llm.engine)))
    }

    private func fastestBudget(
        _ mode: AblationMode, _ run: OfflineRun, _ llm: LLM, _ chosen: [AblationMode: Int]
    ) async throws -> Int {
        // Only how steps are formed differs.
        if mode == .overlappedSynchronous, let budget = chosen[.overlapped] { return budget }
        guard budgets.count > 1 else { return budgets[0] }
        var times: [(seconds: Double, budget: Int)] = []
        for budget in budgets {
            let name = "trial of \(budget) tokens a step, \(mode.rawValue): "
            let outcome = try await self.run(run, mode, budget, llm, name)
            times.append((outcome.seconds, budget))
        }
        return times.min { $0.seconds < $1.seconds }?.budget ?? budgets[0]
    }

    private func run(
        _ run: OfflineRun, _ mode: AblationMode, _ budget: Int?, _ llm: LLM, _ name: String
    ) async throws -> OfflineRun.Outcome {
        llm.engine.inbox.choose(
            PipelineChoice(
                mode: mode.pipelineMode, tokenBudget: budget,
                schedulesAhead: mode != .overlappedSynchronous))
        return try await run.showingProgress(llm, name)
    }
}

/// The bars of the ablation.
enum AblationMode: String, CaseIterable {
    case sequential
    case nanoBatched = "nano_batched"
    case overlapped
    /// Overlapped, but no step is formed before the one before it has ended.
    case overlappedSynchronous = "overlapped_synchronous"

    var pipelineMode: PipelineMode {
        switch self {
        case .sequential: .sequential
        case .nanoBatched: .nanoBatched
        case .overlapped, .overlappedSynchronous: .overlapped
        }
    }
}

/// The figures of an ablation, as a table and as JSON.
struct AblationReport: Encodable {
    private let run: RunDescription
    private let figures: Figures

    private struct Figures: Encodable {
        let repetitions: Int
        let promptTokens: Int
        let completionTokens: Int
        let peakOperationsPerSecond: Double
        let optimalTokensPerSecond: Double
        let modes: [String: Mode]
        let ratios: [String: Double]
        let roundRatios: [String: Spread]
    }

    private struct Mode: Encodable {
        let totalTokensPerSecond: Spread
        let optimalRatio: Double
        let tokenBudget: Int
        /// Steps that were cut into nano-batches, of all.
        let cutSteps: Int
        let steps: Int
        /// Of the time, that in which units had no step.
        let schedulerWaitRatio: Double
    }

    struct Spread: Encodable {
        let median: Double
        let min: Double
        let max: Double

        init(_ values: [Double]) {
            let sorted = values.sorted()
            (min, max) = (sorted[0], sorted[sorted.count - 1])
            let middle = sorted.count / 2
            median =
                sorted.count % 2 == 1
                ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
        }
    }

    /// Names of ratios with what is divided by what.
    private static let pairs: [(name: String, AblationMode, AblationMode)] = [
        ("nano_batched", .nanoBatched, .sequential), ("overlapped", .overlapped, .sequential),
        ("asynchronous", .overlapped, .overlappedSynchronous),
    ]

    init(
        _ llm: LLM, _ outcomes: [AblationMode: [OfflineRun.Outcome]],
        budgets: [AblationMode: Int], peaks: Peaks
    ) {
        let rates = outcomes.mapValues { runs in
            runs.map { Double($0.load.tokens) / $0.seconds }
        }
        let load = outcomes.values.first?.first?.load ?? TokenLoad()
        let optimum = Optimum(load, ModelWork(llm.engine.model), peak: peaks.operations)
        var modes: [String: Mode] = [:]
        for (mode, runs) in outcomes {
            let spread = Spread(rates[mode] ?? [])
            modes[mode.rawValue] = Mode(
                totalTokensPerSecond: spread,
                optimalRatio: spread.median / optimum.tokensPerSecond,
                tokenBudget: budgets[mode] ?? 0, cutSteps: runs[0].steps.cutSteps,
                steps: runs[0].steps.steps,
                schedulerWaitRatio: Spread(runs.map(\.idleRatio)).median)
        }
        var ratios: [String: Double] = [:]
        var roundRatios: [String: Spread] = [:]
        for (name, mode, base) in Self.pairs {
            let (a, b) = (rates[mode] ?? [], rates[base] ?? [])
            ratios[name] = Spread(a).median / Spread(b).median
            roundRatios[name] = Spread(zip(a, b).map { $0 / $1 })
        }
        run = RunDescription(llm)
        figures = Figures(
            repetitions: outcomes.values.first?.count ?? 0, promptTokens: load.promptTokens,
            completionTokens: load.completionTokens,
            peakOperationsPerSecond: peaks.operations,
            optimalTokensPerSecond: optimum.tokensPerSecond, modes: modes, ratios: ratios,
            roundRatios: roundRatios)
    }

    /// One flat object.
    func encode(to encoder: any Encoder) throws {
        try run.encode(to: encoder)
        try figures.encode(to: encoder)
    }

    /// The modes, then the ratios.
    var table: String {
        let head = """
            model       \(run.model), \(run.precisionText), KV cache \(run.kvPrecision), \
            \(run.threads) threads, \(run.kernels)
            requests    \(figures.promptTokens) prompt and \(figures.completionTokens) completion \
            tokens, \(figures.repetitions) turns
            optimum     \(format(figures.optimalTokensPerSecond, 0)) tokens/s

            """
        let columns =
            pad("mode", 24) + pad("tokens/s", -10) + pad("min", -10) + pad("max", -10)
            + pad("optimum", -10) + pad("budget", -10) + pad("no step", -10)
        let rows = AblationMode.allCases.compactMap { mode -> String? in
            guard let figures = figures.modes[mode.rawValue] else { return nil }
            let rate = figures.totalTokensPerSecond
            return pad(mode.rawValue, 24) + pad(format(rate.median, 1), -10)
                + pad(format(rate.min, 1), -10) + pad(format(rate.max, 1), -10)
                + pad(format(figures.optimalRatio * 100, 1) + " %", -10)
                + pad("\(figures.tokenBudget)", -10)
                + pad(format(figures.schedulerWaitRatio * 100, 1) + " %", -10)
        }
        let ratios = Self.pairs.compactMap { name, mode, base -> String? in
            guard let ratio = figures.ratios[name], let spread = figures.roundRatios[name] else {
                return nil
            }
            return "\(mode.rawValue) / \(base.rawValue): \(format(ratio, 3)), within one turn "
                + "\(format(spread.median, 3)) (\(format(spread.min, 3)) to "
                + "\(format(spread.max, 3)))"
        }
        return ([head, columns] + rows + [""] + ratios).joined(separator: "\n")
    }
}

extension OfflineRun.Outcome {
    /// The share of the time in which execution units had no step, on average.
    var idleRatio: Double {
        let busy = times.entries.reduce(0) { $0 + $1.seconds } + times.waitingSeconds
        return max(0, seconds - busy) / seconds
    }
}
