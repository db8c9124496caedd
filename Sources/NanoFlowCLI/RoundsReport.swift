import NanoFlow
import NanoSearch

/// What one pass came to.
struct RoundsPass {
    /// By conversation.
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
    /// The rounds before the last ones.
    struct Throughput {
        let recomputed: RoundsPass
        /// One a turn, reusing from memory: without and with writing to disk.
        var memory: [RoundsPass] = []
        var writing: [RoundsPass] = []
    }

    /// The last rounds, one at a time; the same in all passes.
    struct LastRounds {
        let recomputed: RoundsPass
        let memory: RoundsPass
        let disk: RoundsPass
    }

    /// What went to the disk and came from it, in blocks.
    struct Disk: Encodable {
        let storedBlocks: Int
        /// After the restart.
        let fetchedBlocks: Int
        /// Not stored since the disk did not keep up, or was full.
        let skippedBlocks: Int
        let failedBlocks: Int

        init(before: BlockCache.Counts, after: BlockCache.Counts) {
            storedBlocks = before.stored
            fetchedBlocks = after.fetched
            skippedBlocks = before.skipped
            failedBlocks =
                before.failedStores + before.failedFetches + after.failedStores
                + after.failedFetches
        }
    }

    private struct Figures: Encodable {
        let rounds: Int
        /// Left out since the context had no room for them.
        let skippedRounds: Int
        let promptTokens: Int
        let computedTokens: Int
        let reusedTokens: Int
        let hitRatio: Double
        let ttftSeconds: [String: Times]
        /// Medians of the rounds' own ratios, over those with at least 256 tokens reused; without
        /// an entry where there is none.
        let ttftRatio: [String: Double]
        let ratioRounds: [String: Int]
        let writingThroughputRatio: Double
        let writingTurnRatios: [Double]
        let totalTokensPerSecond: [String: Double]
        let disk: Disk
        let concurrency: Int
        let repetitions: Int
    }

    private struct Times: Encodable {
        let median: Double
        let p99: Double

        init(_ pass: RoundsPass) {
            let sorted = pass.all.map(\.firstTokenSeconds).sorted()
            median = sorted.median
            p99 = sorted.isEmpty ? 0 : sorted[min(sorted.count - 1, sorted.count * 99 / 100)]
        }
    }

    private static let leastReusable = 256

    private let run: RunDescription
    private let figures: Figures

    init(
        _ llm: LLM, _ throughput: Throughput, _ last: LastRounds, _ disk: Disk, roundCount: Int,
        concurrency: Int
    ) {
        let served = throughput.memory[0].all + last.memory.all
        let prompt = served.reduce(0) { $0 + $1.promptTokens }
        let reused = served.reduce(0) { $0 + $1.cachedTokens }
        let ratios = [
            "ram": Self.ratios(last.memory, last.recomputed),
            "disk": Self.ratios(last.disk, last.recomputed),
        ]
        let turns = zip(throughput.writing, throughput.memory).map {
            $0.tokensPerSecond / $1.tokensPerSecond
        }
        run = RunDescription(llm)
        figures = Figures(
            rounds: served.count, skippedRounds: roundCount - served.count,
            promptTokens: prompt, computedTokens: prompt - reused, reusedTokens: reused,
            hitRatio: Double(reused) / Double(max(1, prompt)),
            ttftSeconds: [
                "recomputed": Times(last.recomputed), "ram": Times(last.memory),
                "disk": Times(last.disk),
            ],
            ttftRatio: ratios.filter { !$0.value.isEmpty }.mapValues(\.median),
            ratioRounds: ratios.mapValues(\.count), writingThroughputRatio: turns.median,
            writingTurnRatios: turns,
            totalTokensPerSecond: [
                "recomputed": throughput.recomputed.tokensPerSecond,
                "ram": throughput.memory.map(\.tokensPerSecond).median,
                "disk_writing": throughput.writing.map(\.tokensPerSecond).median,
            ],
            disk: disk, concurrency: concurrency, repetitions: turns.count)
    }

    /// Of the times to the first token, where enough was reused for that to say something.
    private static func ratios(_ pass: RoundsPass, _ recomputed: RoundsPass) -> [Double] {
        zip(pass.all, recomputed.all).filter { $0.0.cachedTokens >= leastReusable }.map {
            $0.firstTokenSeconds / $1.firstTokenSeconds
        }
    }

    /// One flat object.
    func encode(to encoder: any Encoder) throws {
        try run.encode(to: encoder)
        try figures.encode(to: encoder)
    }
}

extension RoundsReport {
    var text: String {
        """
        model       \(run.model), \(run.precisionText), KV cache \(run.kvPrecision), \
        \(run.threads) threads, \(run.kernels)
        rounds      \(figures.rounds): \(figures.promptTokens) prompt tokens, of which \
        \(figures.reusedTokens) (\(format(figures.hitRatio * 100, 1)) %) were reused from memory\
        \(skippedText)
        disk        \(diskText)

        \(pad("", 20))\(pad("first token", -14))\(pad("p99", -10))\(pad("total tokens/s", -16))
        \(row("nothing reused", "recomputed", "recomputed"))
        \(row("from memory", "ram", "ram"))
        \(row("from disk", "disk", "disk_writing"))

        First token in ms, of last rounds, one conversation at a time. \
        \(ratioText("From memory", "ram"))
        \(ratioText("From disk, after a restart,", "disk"))
        Tokens/s of the rounds before, \(figures.concurrency) conversations at a time, count all \
        prompt and completion tokens.
        \(writingText)
        """
    }

    private func row(_ name: String, _ times: String, _ rate: String) -> String {
        let times = figures.ttftSeconds[times]
        return pad(name, 20) + pad(format((times?.median ?? 0) * 1e3, 1), -14)
            + pad(format((times?.p99 ?? 0) * 1e3, 1), -10)
            + pad(format(figures.totalTokensPerSecond[rate] ?? 0, 0), -16)
    }

    private var skippedText: String {
        figures.skippedRounds == 0
            ? "" : "; \(figures.skippedRounds) more had no room in the context"
    }

    private var diskText: String {
        let disk = figures.disk
        return "\(disk.storedBlocks) blocks stored, \(disk.skippedBlocks) not, since the disk was "
            + "full or did not keep up; \(disk.fetchedBlocks) fetched after the restart; "
            + "\(disk.failedBlocks) failed"
    }

    private func ratioText(_ start: String, _ key: String) -> String {
        guard let ratio = figures.ttftRatio[key] else {
            return "\(start) no round had \(Self.leastReusable) tokens to reuse."
        }
        return "\(start) it takes \(format(ratio, 3)) of the time (median of "
            + "\(figures.ratioRounds[key] ?? 0) rounds with at least \(Self.leastReusable) tokens "
            + "reused)."
    }

    private var writingText: String {
        let turns = figures.writingTurnRatios.map { format($0, 3) }.joined(separator: ", ")
        return "In the row of the disk they are from memory, while new blocks are written to disk: "
            + "\(format(figures.writingThroughputRatio, 3)) of those without (median of the turns: "
            + "\(turns))."
    }
}
