import Foundation
import NanoDevice
import NanoFlow
import NanoModel

/// The figures of an offline benchmark, as a table and as JSON.
struct OfflineReport: Encodable {
    private let run: RunDescription
    private let figures: Figures

    private struct Figures: Encodable {
        let mode: PipelineMode
        let temperature: Double
        let topP: Double
        let totalTokensPerSecond: Double
        let completionTokensPerSecond: Double
        let seconds: Double
        /// Of all repetitions, ascending; the other figures are those of the median.
        let repetitionSeconds: [Double]
        let requests: Int
        let promptTokens: Int
        let completionTokens: Int
        let steps: Int
        /// Of the steps those that were cut into nano-batches.
        let cutSteps: Int
        let peakOperationsPerSecond: Double
        let readBandwidthBytesPerSecond: Double
        let optimalTokensPerSecond: Double
        let optimalRatio: Double
        let attainableTokensPerSecond: Double
        let attainableRatio: Double
        let preemptions: Int
        let operations: [Share]
        /// Units waiting for others to finish an operation.
        let waitingSeconds: Double
        /// Units without a step.
        let idleSeconds: Double
        /// The same as a share of the time: what waiting for the scheduler costs.
        let schedulerWaitRatio: Double
    }

    private struct Share: Encodable {
        let name: String
        /// A unit's, on average.
        let seconds: Double
        let share: Double
    }

    init(
        _ llm: LLM, _ outcome: OfflineRun.Outcome, _ peaks: Peaks, mode: PipelineMode,
        sampling: SamplingParameters, repetitions: [Double]
    ) {
        let engine = llm.engine
        let work = ModelWork(engine.model)
        let load = outcome.load
        let seconds = outcome.seconds
        let optimum = Optimum(load, work, peak: peaks.operations)
        let attainable = Attainable(
            load, work, steps: outcome.steps, sizes: engine.settings.sizes(engine.model),
            peak: peaks.operations, bandwidth: peaks.readBandwidth)
        let total = Double(load.tokens) / seconds
        let operations = outcome.times.entries.map {
            Share(name: $0.kind.rawValue, seconds: $0.seconds, share: $0.seconds / seconds)
        }
        let waiting = outcome.times.waitingSeconds
        run = RunDescription(llm)
        figures = Figures(
            mode: mode, temperature: sampling.temperature, topP: sampling.topP,
            totalTokensPerSecond: total,
            completionTokensPerSecond: Double(load.completionTokens) / seconds, seconds: seconds,
            repetitionSeconds: repetitions, requests: outcome.answers.count,
            promptTokens: load.promptTokens, completionTokens: load.completionTokens,
            steps: outcome.steps.steps, cutSteps: outcome.steps.cutSteps,
            peakOperationsPerSecond: peaks.operations,
            readBandwidthBytesPerSecond: peaks.readBandwidth,
            optimalTokensPerSecond: optimum.tokensPerSecond,
            optimalRatio: total / optimum.tokensPerSecond,
            attainableTokensPerSecond: attainable.tokensPerSecond,
            attainableRatio: total / attainable.tokensPerSecond,
            preemptions: engine.status.scheduler.preemptions, operations: operations,
            waitingSeconds: waiting, idleSeconds: outcome.idleRatio * seconds,
            schedulerWaitRatio: outcome.idleRatio)
    }

    /// One flat object.
    func encode(to encoder: any Encoder) throws {
        try run.encode(to: encoder)
        try figures.encode(to: encoder)
    }

    private var samplingText: String {
        guard figures.temperature > 0 else { return "greedy" }
        return "temperature \(figures.temperature), top-p \(figures.topP)"
    }

    /// The figures, then where the time went.
    var table: String {
        let summary = """
            model       \(run.model), \(run.precisionText), KV cache \(run.kvPrecision), \
            \(run.threads) threads, \(run.kernels)
            requests    \(figures.requests): \(figures.promptTokens) prompt and \
            \(figures.completionTokens) completion tokens in \(format(figures.seconds, 2)) s, \
            \(figures.steps) steps, \(figures.cutSteps) of them cut (\(figures.mode.rawValue)), \
            \(samplingText)
            plans       \(figures.mode == .auto ? run.plans : figures.mode.rawValue)
            throughput  \(format(figures.totalTokensPerSecond, 1)) tokens/s, of these \
            \(format(figures.completionTokensPerSecond, 1)) completion tokens/s
            peak        \(format(figures.peakOperationsPerSecond / 1e9, 0)) GOP/s, memory \
            \(format(figures.readBandwidthBytesPerSecond / 1e9, 1)) GB/s
            optimum     \(format(figures.optimalTokensPerSecond, 0)) tokens/s: \
            \(format(figures.optimalRatio * 100, 1)) % of it
            attainable  \(format(figures.attainableTokensPerSecond, 0)) tokens/s: \
            \(format(figures.attainableRatio * 100, 1)) % of it
            """
        let rows =
            figures.operations
            + [
                Share(
                    name: "(waiting for a unit)", seconds: figures.waitingSeconds,
                    share: figures.waitingSeconds / figures.seconds),
                Share(
                    name: "(between steps)", seconds: figures.idleSeconds,
                    share: figures.idleSeconds / figures.seconds),
            ]
        let lines = rows.map { row in
            pad(row.name, 24) + pad(format(row.seconds * 1000, 1), -12)
                + pad(format(row.share * 100, 1), -8) + " %"
        }
        return
            ([summary, "", pad("operation", 24) + pad("ms a unit", -12) + pad("share", -10)]
            + lines).joined(separator: "\n")
    }
}

/// Completions, one JSON object a line.
struct CompletionLines {
    private let lines: [Line]

    private struct Line: Encodable {
        let index: Int
        let text: String?
        let tokenIDs: [Int]

        private enum CodingKeys: String, CodingKey {
            case index, text
            case tokenIDs = "token_ids"
        }
    }

    init(_ answers: [OfflineRun.Answer], withTexts: Bool) {
        lines = answers.enumerated().map { index, answer in
            Line(index: index, text: withTexts ? answer.text : nil, tokenIDs: answer.tokens)
        }
    }

    func write(to path: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var data = Data()
        for line in lines { data += try encoder.encode(line) + Data("\n".utf8) }
        if path == "-" {
            FileHandle.standardOutput.write(data)
        } else {
            try data.write(to: URL(fileURLWithPath: path))
        }
    }
}
