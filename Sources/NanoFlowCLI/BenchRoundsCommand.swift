import ArgumentParser
import Foundation
import NanoDevice
import NanoFlow
import NanoSearch

/// `nanoflow bench rounds`: conversations whose rounds use the keys and values of those before.
struct BenchRoundsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rounds",
        abstract: "Replays conversations of several rounds, with and without the cache.",
        discussion: """
            The history of a round holds the engine's own answers, greedy, as long as the recorded \
            one and at most 128 tokens, and goes through the chat template as text. Two passes serve \
            one dialogue at a time, for the time to the first token: one without and one with what \
            earlier rounds have left in memory. Two more serve several at a time, for throughput.
            """)

    @OptionGroup var options: ModelOptions

    @Option(
        help: """
            Dialogues: JSON lines with a "history" of "user" and "bot" texts, as MT-Bench-101 has \
            them.
            """)
    var dialogues: String

    @Option(help: "Dialogues with the longest history that are replayed.")
    var limit = 48

    @Option(help: "Dialogues at a time in the passes for throughput.")
    var concurrency = 32

    @Option(help: "Write the figures as JSON to this file; - is standard output.")
    var json: String?

    func validate() throws {
        guard (1...100_000).contains(limit) else {
            throw ValidationError("--limit must be 1 to 100000. Given: \(limit).")
        }
        guard (1...4096).contains(concurrency) else {
            throw ValidationError("--concurrency must be 1 to 4096. Given: \(concurrency).")
        }
        guard !options.engine.noPrefixCaching else {
            throw ValidationError("--no-prefix-caching turns off what this command measures.")
        }
        try checkWritable(json)
    }

    func run() async throws {
        do {
            let chosen = try Dialogues(file: dialogues).longest(limit)
            let llm = try await options.load()
            try await OfflineRun.warmUp(llm, requestCount: 8)
            let run = RoundsRun(chosen, on: llm)
            let recomputed = try await pass(run, "one at a time, nothing reused", 1, .none)
            let memory = try await pass(run, "one at a time, from memory", 1, .all)
            let many = "\(concurrency) at a time"
            let plain = try await pass(run, "\(many), nothing reused", concurrency, .none)
            let reusing = try await pass(run, "\(many), from memory", concurrency, .all)
            let report = RoundsReport(
                llm, recomputed: recomputed, memory: memory, plain: plain, reusing: reusing,
                concurrency: concurrency)
            await llm.shutdown()
            if json != "-" { print(report.text) }
            if let json { try writeJSON(report, to: json) }
        } catch let error as NanoFlowError {
            throw failure(error)
        }
    }

    private func pass(
        _ run: RoundsRun, _ name: String, _ concurrency: Int, _ reuse: RoundsRun.Reuse
    ) async throws -> RoundsPass {
        let progress = ProgressLine()
        let (count, done) = (run.roundCount, Locked(0))
        let start = ContinuousClock.now
        let rounds = try await run.run(concurrency: concurrency, reuse: reuse, pass: name) {
            let finished = done.withLock { done in
                done += 1
                return done
            }
            progress.show(name, Double(finished) / Double(count))
        }
        progress.clear()
        return RoundsPass(rounds: rounds, seconds: start.duration(to: .now) / .seconds(1))
    }
}

/// What one pass came to.
struct RoundsPass {
    /// By dialogue.
    let rounds: [[RoundsRun.Served]]
    let seconds: Double

    var all: [RoundsRun.Served] { rounds.flatMap { $0 } }

    /// Prompt and completion tokens a second, however they came about.
    var tokensPerSecond: Double {
        Double(all.reduce(0) { $0 + $1.promptTokens + $1.completionTokens }) / seconds
    }
}

/// The figures of the passes, as text and as JSON.
struct RoundsReport: Encodable {
    private let run: RunDescription
    private let figures: Figures

    private struct Figures: Encodable {
        let rounds: Int
        let promptTokens: Int
        let computedTokens: Int
        let reusedTokens: Int
        let hitRatio: Double
        let ttftSeconds: [String: Times]
        /// Medians of the rounds' own ratios, over those with at least 256 tokens to reuse; empty
        /// where there is none.
        let ttftRatio: [String: Double]
        let ratioRounds: Int
        let concurrency: Int
        let totalTokensPerSecond: [String: Double]
    }

    private struct Times: Encodable {
        let median: Double
        let p99: Double

        init(_ rounds: [RoundsRun.Served]) {
            let sorted = rounds.map(\.firstTokenSeconds).sorted()
            median = sorted.median
            p99 = sorted.isEmpty ? 0 : sorted[min(sorted.count - 1, sorted.count * 99 / 100)]
        }
    }

    private static let leastReusable = 256

    init(
        _ llm: LLM, recomputed: RoundsPass, memory: RoundsPass, plain: RoundsPass,
        reusing: RoundsPass, concurrency: Int
    ) {
        let ratios = zip(recomputed.all, memory.all).filter {
            $1.cachedTokens >= Self.leastReusable
        }.map { $1.firstTokenSeconds / $0.firstTokenSeconds }
        let prompt = memory.all.reduce(0) { $0 + $1.promptTokens }
        let reused = memory.all.reduce(0) { $0 + $1.cachedTokens }
        run = RunDescription(llm)
        figures = Figures(
            rounds: memory.all.count, promptTokens: prompt, computedTokens: prompt - reused,
            reusedTokens: reused, hitRatio: Double(reused) / Double(max(1, prompt)),
            ttftSeconds: ["recomputed": Times(recomputed.all), "ram": Times(memory.all)],
            ttftRatio: ratios.isEmpty ? [:] : ["ram": ratios.median], ratioRounds: ratios.count,
            concurrency: concurrency,
            totalTokensPerSecond: [
                "recomputed": plain.tokensPerSecond, "ram": reusing.tokensPerSecond,
            ])
    }

    /// One flat object.
    func encode(to encoder: any Encoder) throws {
        try run.encode(to: encoder)
        try figures.encode(to: encoder)
    }

    private var ratioText: String {
        guard let ratio = figures.ttftRatio["ram"] else {
            return "; no round has \(Self.leastReusable) tokens to reuse"
        }
        return ": from memory it takes \(format(ratio, 3)) of the time (median of "
            + "\(figures.ratioRounds) rounds with at least \(Self.leastReusable) tokens to reuse)"
    }

    var text: String {
        func row(_ name: String, _ key: String) -> String {
            let times = figures.ttftSeconds[key]
            return pad(name, 20) + pad(format((times?.median ?? 0) * 1e3, 1), -14)
                + pad(format((times?.p99 ?? 0) * 1e3, 1), -10)
                + pad(format(figures.totalTokensPerSecond[key] ?? 0, 0), -16)
        }
        return """
            model       \(run.model), \(run.precisionText), KV cache \(run.kvPrecision), \
            \(run.threads) threads, \(run.kernels)
            rounds      \(figures.rounds): \(figures.promptTokens) prompt tokens, of which \
            \(figures.reusedTokens) (\(format(figures.hitRatio * 100, 1)) %) were reused

            \(pad("", 20))\(pad("first token", -14))\(pad("p99", -10))\(pad("total tokens/s", -16))
            \(row("nothing reused", "recomputed"))
            \(row("from memory", "ram"))

            First token in ms, median, one dialogue at a time\(ratioText).
            Tokens/s with \(figures.concurrency) dialogues at a time count all prompt and completion tokens.
            """
    }
}
