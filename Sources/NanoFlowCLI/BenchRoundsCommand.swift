import ArgumentParser
import Dispatch
import Foundation
import NanoDevice
import NanoFlow

/// `nanoflow bench rounds`: conversations whose rounds use the keys and values of those before.
struct BenchRoundsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rounds",
        abstract: "Replays conversations of several rounds, with and without the cache's tiers.",
        discussion: """
            The last round of each conversation measures the time to the first token, one \
            conversation at a time: with nothing reused, with what the rounds before have left in \
            memory, and with what they have left on disk, after the engine has been started again. \
            The rounds before the last are served several conversations at a time, for throughput: \
            with nothing reused, from memory, and from memory while new blocks are written to disk; \
            the last two take turns. All passes must give the same answers.

            In a dialogue, the history of a round holds the engine's own answers, greedy, as long as \
            the recorded one and at most 128 tokens, and goes through the chat template as text. A \
            round of a Mooncake trace has its whole prompt in the trace: token ids made of its \
            hashes, with none of the engine's answers and no template. All lengths of the trace are \
            scaled down by one factor so that the longest request fits the model's context; answers \
            have at most 128 tokens; timestamps are not used. A request continues the last one \
            before it whose hashes, but for the last, are the beginning of its own.

            Two engines are loaded, one with a disk tier and one without; only one works at a time. \
            The file of the disk tier lies in a folder of its own in --kv-disk-dir (default: the \
            system's temporary folder), which is removed at the end.
            """)

    @OptionGroup var options: ModelOptions

    @Option(
        help: """
            Dialogues: JSON lines with a "history" of "user" and "bot" texts, as MT-Bench-101 has \
            them.
            """)
    var dialogues: String?

    @Option(
        help: """
            Requests: JSON lines with "input_length", "output_length" and "hash_ids" of 512 tokens \
            each, as Mooncake's traces have them.
            """)
    var mooncake: String?

    @Option(help: "Conversations with the longest history that are replayed.")
    var limit = 48

    @Option(help: "Conversations at a time in the passes for throughput.")
    var concurrency = 32

    @Option(help: "Turns of the passes with and without writing to disk.")
    var repetitions = 1

    @Option(help: "Write the figures as JSON to this file; - is standard output.")
    var json: String?

    func validate() throws {
        guard (dialogues == nil) != (mooncake == nil) else {
            throw ValidationError("Give one of --dialogues and --mooncake.")
        }
        guard (1...100_000).contains(limit) else {
            throw ValidationError("--limit must be 1 to 100000. Given: \(limit).")
        }
        guard (1...4096).contains(concurrency) else {
            throw ValidationError("--concurrency must be 1 to 4096. Given: \(concurrency).")
        }
        guard (1...100).contains(repetitions) else {
            throw ValidationError("--repetitions must be 1 to 100. Given: \(repetitions).")
        }
        guard !options.engine.noPrefixCaching else {
            throw ValidationError("--no-prefix-caching turns off what this command measures.")
        }
        try checkWritable(json)
    }

    func run() async throws {
        do {
            let chosen = try choose()
            let folder = try ScratchFolder(in: options.engine.kvDiskDir)
            defer { folder.remove() }
            let report = try await measure(chosen, folder.path)
            if json != "-" { print(report.text) }
            if let json { try writeJSON(report, to: json) }
        } catch let error as NanoFlowError {
            throw failure(error)
        }
    }

    /// Reads the file, before a model is loaded for nothing.
    private func choose() throws(NanoFlowError) -> ChosenConversations {
        let chosen: ChosenConversations
        if let mooncake {
            chosen = .sessions(try MooncakeTrace(file: mooncake).longest(limit))
        } else {
            chosen = .dialogues(try Dialogues(file: dialogues ?? "").longest(limit))
        }
        guard chosen.longestRoundCount > 1 else {
            throw NanoFlowError(
                .invalidRequest, field: mooncake ?? dialogues ?? "",
                limit: "conversations of which one has two rounds or more", given: "none")
        }
        return chosen
    }

    private func measure(
        _ chosen: ChosenConversations, _ directory: String
    ) async throws -> RoundsReport {
        let plain = try await load(nil)
        let run = RoundsRun(try chosen.fitted(to: plain))
        let tier = DiskTierConfiguration(
            directory: directory, byteCount: options.engine.kvDiskSize.count)
        let writing = try await load(tier, like: plain)
        for llm in [plain, writing] { try await OfflineRun.warmUp(llm, requestCount: 8) }

        let passes = RoundsPasses(run: run, concurrency: concurrency)
        let throughput = try await passes.throughput(plain, writing, repetitions: repetitions)
        // The caches know the newest turn best.
        let memory = try await passes.last(
            plain, after: throughput, "from memory", .shared(passes.memorySalt(repetitions)))
        let recomputed = try await passes.last(
            plain, after: throughput, "nothing reused", .perRound("last rounds"))
        let written = writing.engine.status.transfers
        await stop(writing)
        let restarted = try await load(tier, like: plain)
        let disk = try await passes.last(
            restarted, after: throughput, "from disk", .shared(passes.writingSalt(repetitions)))
        try RoundsPasses.compare(memory, recomputed, "from memory")
        try RoundsPasses.compare(disk, recomputed, "from disk")

        let report = RoundsReport(
            plain, throughput,
            RoundsReport.LastRounds(recomputed: recomputed, memory: memory, disk: disk),
            RoundsReport.Disk(before: written, after: restarted.engine.status.transfers),
            roundCount: run.roundCount, concurrency: concurrency)
        await plain.shutdown()
        await restarted.shutdown()
        return report
    }

    /// Loads the model, with a KV cache as large as the other engine's.
    private func load(_ tier: DiskTierConfiguration?, like other: LLM? = nil) async throws -> LLM {
        var configuration = options.engine.configuration
        configuration.diskTier = tier
        if let other { configuration.kvCacheByteCount = other.engine.settings.kvCacheByteCount }
        let model = options.model
        return try await loadShowingProgress { [configuration] progress in
            try await LLM(
                model: model, configuration: configuration, makePlans: nil, progress: progress)
        }
    }

    private func stop(_ llm: LLM) async {
        let progress = ProgressLine()
        progress.show("stopping the engine that writes to disk", 0)
        await llm.shutdown()
        progress.clear()
    }
}

/// The conversations with the longest history; only the model says what they come to in tokens.
private enum ChosenConversations {
    case dialogues([[Dialogues.Round]])
    case sessions([[MooncakeTrace.Request]])

    var longestRoundCount: Int {
        switch self {
        case .dialogues(let dialogues): dialogues.map(\.count).max() ?? 0
        case .sessions(let sessions): sessions.map(\.count).max() ?? 0
        }
    }

    func fitted(to llm: LLM) throws(NanoFlowError) -> [Conversation] {
        switch self {
        case .dialogues(let dialogues): dialogues.map { .dialogue($0) }
        case .sessions(let sessions): try MooncakeTrace.conversations(sessions, for: llm)
        }
    }
}

/// The passes over the conversations, each with a line that says how far it is.
private struct RoundsPasses {
    let run: RoundsRun
    let concurrency: Int

    func memorySalt(_ turn: Int) -> String { "memory, turn \(turn)" }
    func writingSalt(_ turn: Int) -> String { "writing, turn \(turn)" }

    /// The rounds before the last: with nothing reused, then in turns with and without writing.
    func throughput(
        _ plain: LLM, _ writing: LLM, repetitions: Int
    ) async throws -> RoundsReport.Throughput {
        let recomputed = try await histories(plain, "nothing reused", .perRound("histories"))
        guard !recomputed.all.isEmpty else {
            throw NanoFlowError(
                .contextLengthExceeded, field: "max-model-len",
                limit: "room for the first round of a conversation of several",
                given: "\(plain.maxModelLength)")
        }
        var result = RoundsReport.Throughput(recomputed: recomputed)
        for turn in 1...repetitions {
            let name = "turn \(turn) of \(repetitions), "
            // In the order of one, two, two, one, a steady drift of the machine's speed cancels out.
            for isWriting in [turn % 2 == 0, turn % 2 == 1] {
                let pass = try await histories(
                    isWriting ? writing : plain,
                    name + (isWriting ? "from memory, writing to disk" : "from memory"),
                    .shared(isWriting ? writingSalt(turn) : memorySalt(turn)))
                try Self.compare(pass, recomputed, isWriting ? "writing to disk" : "from memory")
                if isWriting { result.writing.append(pass) } else { result.memory.append(pass) }
            }
        }
        return result
    }

    private func histories(
        _ llm: LLM, _ name: String, _ salt: RoundsRun.Salt
    ) async throws -> RoundsPass {
        let counter = RoundCounter(
            "\(concurrency) at a time, \(name)", of: run.roundCount - run.conversationCount)
        defer { counter.clear() }
        let start = ContinuousClock.now
        let rounds = try await run.serveHistories(on: llm, concurrency: concurrency, salt: salt) {
            counter.count()
        }
        return RoundsPass(rounds: rounds, seconds: start.duration(to: .now) / .seconds(1))
    }

    /// The last rounds, one at a time.
    func last(
        _ llm: LLM, after throughput: RoundsReport.Throughput, _ name: String,
        _ salt: RoundsRun.Salt
    ) async throws -> RoundsPass {
        try await OfflineRun.warmUp(llm, requestCount: 1)
        let counter = RoundCounter("one at a time, \(name)", of: run.conversationCount)
        defer { counter.clear() }
        let start = ContinuousClock.now
        let rounds = try await run.serveLast(
            on: llm, after: throughput.recomputed.rounds, salt: salt
        ) {
            counter.count()
        }
        return RoundsPass(rounds: rounds, seconds: start.duration(to: .now) / .seconds(1))
    }

    /// Ends the command where reuse has changed an answer.
    static func compare(_ pass: RoundsPass, _ recomputed: RoundsPass, _ name: String) throws {
        for (index, (own, expected)) in zip(pass.rounds, recomputed.rounds).enumerated()
        where own.map(\.answer) != expected.map(\.answer) {
            printError(
                "nanoflow: conversation \(index + 1) has other answers \(name) than with nothing "
                    + "reused. Reuse must change no answer; this is a bug of the engine.")
            throw ExitCode.failure
        }
    }
}

/// Shows how many rounds of a pass are done.
private final class RoundCounter: Sendable {
    private let line = ProgressLine()
    private let done = Locked(0)
    private let name: String
    private let total: Int

    init(_ name: String, of total: Int) {
        (self.name, self.total) = (name, total)
        line.show(name, 0)
    }

    func count() {
        let finished = done.withLock { done in
            done += 1
            return done
        }
        line.show(name, Double(finished) / Double(max(1, total)))
    }

    func clear() { line.clear() }
}

/// A folder that is removed with what is in it, also when a signal ends the command: what the disk
/// tier leaves takes gigabytes.
private struct ScratchFolder {
    let path: String
    private let signalSources: [any DispatchSourceSignal]

    /// - Throws: ``NanoFlowError`` where it cannot be made.
    init(in parent: String?) throws(NanoFlowError) {
        let parent =
            parent.map { URL(fileURLWithPath: $0) } ?? FileManager.default.temporaryDirectory
        let folder = parent.appendingPathComponent("nanoflow-rounds-\(UUID().uuidString)")
        do {
            try FileManager.default.createDirectory(
                at: folder, withIntermediateDirectories: true,
                attributes: [.posixPermissions: 0o700])
        } catch {
            throw NanoFlowError(
                .invalidConfiguration, field: "kv-disk-dir",
                limit: "a folder that can be written to", given: parent.path,
                message: "--kv-disk-dir: no folder can be made in \(parent.path): "
                    + error.localizedDescription)
        }
        let path = folder.path
        self.path = path
        signalSources = [SIGINT, SIGTERM].map { number in
            // The source is told only of what the process does not die of.
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler {
                try? FileManager.default.removeItem(atPath: path)
                _exit(128 + number)
            }
            source.resume()
            return source
        }
    }

    func remove() {
        signalSources.forEach { $0.cancel() }
        try? FileManager.default.removeItem(atPath: path)
    }
}
