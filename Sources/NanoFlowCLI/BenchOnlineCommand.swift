import ArgumentParser
import Foundation
import NanoClient
import NanoDevice
import NanoFlow

/// `nanoflow bench online`: what the users of a server would see under a load.
struct BenchOnlineCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "online",
        abstract: "Sends requests to a server as they would arrive, and measures the answers.",
        discussion: """
            The server may be any with OpenAI's /v1/completions, streamed, that sends the usage with \
            the last chunk. An open loop: each request goes out at its time, whatever has become of \
            those before, over a connection of its own where others are busy. One short request goes \
            ahead and is not counted.

            Requests are greedy and ask for an exact length (ignore_eos, min_tokens and max_tokens). \
            Tokens are counted by the server's usage, never by chunks. TTFT: from the sending to \
            the first chunk with text. ITL: between chunks with text. TPOT: the time after the \
            first token by the tokens after it. Normalised latency: a request's whole time by its \
            completion's tokens. Goodput: completed requests within the --objective, a second. Lag: \
            how late this client sent a request; where it is not small beside the latencies, the \
            client was overloaded, or --max-concurrency held requests back.

            Several rates, as in --rate 0.5,1,2,4, are loads one after the other, each until its last \
            answer; --svg draws them. All have the same gaps but for the scale, and prompts of their \
            own; only those of a --workload come again.

            Exit code 1: a request failed.
            """)

    @Option(help: "The server, as in http://127.0.0.1:8000.")
    var url: String

    @Option(help: "The model, as the server names it (default: the first of /v1/models).")
    var model: String?

    @Option(help: "Sent as a bearer token.")
    var apiKey: String?

    @OptionGroup var load: OnlineLoadOptions

    @Option(help: "Requests in flight at most; the next one waits (default: any number).")
    var maxConcurrency: Int?

    @Option(
        help: ArgumentHelp(
            "A request that takes longer has failed, as 60s or 5m.", valueName: "time"))
    var timeout = Seconds(count: 600)

    @Option(
        help: ArgumentHelp(
            """
            What a good request keeps, in ms: any of ttft, tpot, e2el (the whole request) and \
            normalized (the whole request by its tokens), as in ttft=2000,tpot=200.
            """, valueName: "limits"))
    var objective: String?

    @Option(
        name: .customLong("omit"),
        help: "Leave out a field that the server refuses; may be given again.")
    var omitted: [CompletionBody.OptionalField] = []

    @Option(help: "Write the figures as JSON to this file; - is standard output.")
    var json: String?

    @Option(help: "Draw normalised latency over request rate to this file.")
    var svg: String?

    func validate() throws {
        guard (1...1_000_000).contains(maxConcurrency ?? 1) else {
            throw ValidationError(
                "--max-concurrency must be 1 to 1000000. Given: \(maxConcurrency ?? 0).")
        }
        guard (0.001...86_400).contains(timeout.count) else {
            throw ValidationError("--timeout must be 0.001s to 24h. Given: \(timeout.text).")
        }
        do {
            _ = try ServerAddress(url)
            _ = try objective.map(Objective.init)
        } catch {
            throw ValidationError("\(error)")
        }
        guard svg == nil || load.rates?.values.allSatisfy(\.isFinite) ?? true else {
            throw ValidationError("--svg draws over rates, of which inf is none.")
        }
        try checkWritable(json)
        try checkWritable(svg, option: "--svg")
    }

    func run() async throws {
        do {
            let loads = try load.loads()
            let client = CompletionClient(
                try ServerAddress(url), apiKey: apiKey, timeout: timeout.count)
            let report: OnlineReport
            do {
                report = try await measure(loads, client)
            } catch {
                try await client.shutdown()
                throw error
            }
            try await client.shutdown()
            if json == "-" { try writeJSON(report, to: "-") }
            if report.failedCount > 0 { throw ExitCode.failure }
        } catch let error as NanoFlowError {
            throw failure(error)
        } catch let failure as RequestFailure {
            printError("nanoflow: \(url): \(failure)")
            throw ExitCode.failure
        }
    }

    private func measure(
        _ loads: [OnlineLoad], _ client: CompletionClient
    ) async throws -> OnlineReport {
        allowConnections()
        let model: String
        if let named = self.model { model = named } else { model = try await client.firstModel() }
        let body = CompletionBody(
            model: model, vocabulary: OnlinePrompt.ordinaryTokens(ofVocabulary: load.vocabulary),
            omitting: Set(omitted))
        let run = LoadRun(client, body, maxConcurrency: maxConcurrency)
        try await run.probe()
        let objective = try objective.map(Objective.init)
        var report = OnlineReport(self, model: model, objective: objective)
        for (index, load) in loads.enumerated() {
            let name = loads.count > 1 ? "load \(index + 1) of \(loads.count), " : ""
            let records = try await run.showingProgress(load, name)
            report.add(load, records)
            try show(report, records, of: loads.count)
        }
        return report
    }

    /// Shows what is known after each load, so that a sweep that is broken off leaves its figures.
    private func show(_ report: OnlineReport, _ records: [RequestRecord], of count: Int) throws {
        if json != "-" {
            print(report.lastText)
            if count > 1, report.loadCount == count { print("\n" + report.sweepTable) }
        }
        for reason in FailureReasons(records).lines { printError("nanoflow: \(reason)") }
        if let json, json != "-" { try writeJSON(report, to: json) }
        if let svg {
            try Data(report.svg.utf8).write(to: URL(fileURLWithPath: svg))
        }
    }

    /// Each request in flight has a file descriptor, of which a shell allows few.
    private func allowConnections() {
        var limit = rlimit()
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        guard getrlimit(resource, &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(resource, &limit)
    }
}

extension CompletionBody.OptionalField: ExpressibleByArgument {}

extension LoadRun {
    /// Runs a load with a line on standard error that says how far it is.
    fileprivate func showingProgress(
        _ load: OnlineLoad, _ name: String
    ) async throws -> [RequestRecord] {
        let line = ProgressLine()
        let all = load.requests.count
        // A log needs fewer lines than a terminal.
        let period = Duration.seconds(line.isTerminal ? 1 : 10)
        let reporter = Task { [progress] in
            while true {
                try await Task.sleep(for: period)
                let now = progress.withLock { $0 }
                let done = now.completed + now.failed
                line.show(
                    "\(name)\(now.sent) of \(all) requests sent, \(now.completed) completed, "
                        + "\(now.failed) failed", Double(done) / Double(max(1, all)))
            }
        }
        defer {
            reporter.cancel()
            line.clear()
        }
        return try await run(load)
    }
}
