import Foundation
import NanoClient
import NanoFlow

/// The figures of the loads of an online benchmark, as text, as a picture and as JSON.
struct OnlineReport: Encodable {
    private let schemaVersion = 1
    private let url: String
    private let model: String
    private let source: String
    private let arrivals: String
    private let seed: UInt64
    private let maxConcurrency: Int?
    private let timeoutSeconds: Double
    /// ms.
    private let objective: Objective?
    private var loads: [Load] = []

    private struct Load: Encodable {
        /// Requests a second, as they arrive; null where all were sent at once.
        let rate: Double?
        let requests: Int
        let figures: LoadFigures
        let failures: [String: Int]
    }

    init(_ command: BenchOnlineCommand, model: String, objective: Objective?) {
        let options = command.load
        url = command.url
        self.model = model
        source =
            options.workload ?? options.trace
            ?? "\(options.promptTokens ?? 0) + \(options.completionTokens ?? 0) tokens"
        arrivals = options.arrivals.rawValue
        seed = options.seed
        maxConcurrency = command.maxConcurrency
        timeoutSeconds = command.timeout.count
        self.objective = objective
    }

    mutating func add(_ load: OnlineLoad, _ records: [RequestRecord]) {
        loads.append(
            Load(
                rate: load.rate.isFinite ? load.rate : nil,
                requests: records.count, figures: LoadFigures(records, objective: objective),
                failures: FailureReasons(records).counts))
    }

    var loadCount: Int { loads.count }
    var failedCount: Int { loads.reduce(0) { $0 + $1.figures.failed } }

    /// What the last load was, and its figures.
    var lastText: String {
        guard let load = loads.last else { return "" }
        let rate = load.rate.map { "\(format($0, 3)) requests/s" } ?? "all at once"
        var lines = [
            "", "server      \(url), model \(model), timeout \(format(timeoutSeconds, 0)) s",
            "requests    \(load.requests) of \(source), \(arrivals) arrivals, seed \(seed): \(rate)",
        ]
        if let objective { lines.append("objective   \(objective.text) (ms)") }
        let short = load.figures.shortCompletions
        if short > 0 {
            lines.append(
                "short       \(short) completions have fewer tokens than asked for: the server "
                    + "heeds no ignore_eos or min_tokens")
        }
        let block = LoadReport(
            load.figures, rate: load.rate ?? .infinity, maxConcurrency: maxConcurrency)
        return (lines + [block.text]).joined(separator: "\n")
    }

    // MARK: - The sweep

    private var curve: LatencyCurve {
        LatencyCurve(
            loads.compactMap { load in
                guard let rate = load.rate, let latency = load.figures.normalizedLatency else {
                    return nil
                }
                return LatencyCurve.Point(rate: rate, latency: latency)
            })
    }

    var svg: String {
        let name = URL(fileURLWithPath: source).lastPathComponent
        return LatencyChart(curve, title: "\(model), \(name), \(arrivals) arrivals").svg
    }

    /// A row for each load, and where the paper's limit is reached.
    var sweepTable: String {
        let head = [
            "rate", "completed", "failed", "TTFT", "TPOT", "mean", "median", "P99", "goodput",
            "tokens/s",
        ]
        let rows = loads.map { load -> [String] in
            let figures = load.figures
            let latency = figures.normalizedLatency
            let cells = [
                load.rate, figures.ttft?.median, figures.tpot?.median, latency?.mean,
                latency?.median, latency?.p99, figures.requestGoodput,
            ].enumerated().map { index, value in
                value.map { format($0, index == 0 || index == 6 ? 2 : 0) } ?? "-"
            }
            return [cells[0], "\(figures.completed)", "\(figures.failed)"] + cells[1...]
                + [format(figures.outputThroughput, 1)]
        }
        let lines = ([head] + rows).map { $0.map { pad($0, -10) }.joined() }
        return lines.joined(separator: "\n") + """


            rate and goodput in requests/s; TTFT and TPOT medians in ms; mean, median and P99 of the
            normalised latency in ms a token; tokens/s those of completions.
            \(curve.sentence)
            """
    }
}

/// Why requests failed, and how many each.
struct FailureReasons {
    private static let shownCount = 5

    let counts: [String: Int]

    init(_ records: [RequestRecord]) {
        counts = records.compactMap(\.failure).reduce(into: [:]) { counts, failure in
            counts[failure.description, default: 0] += 1
        }
    }

    /// The commonest, one a line.
    var lines: [String] {
        let sorted = counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
        let shown = sorted.prefix(Self.shownCount).map { reason, count in
            "\(count == 1 ? "1 request" : "\(count) requests") failed: \(reason)"
        }
        let rest = sorted.dropFirst(Self.shownCount).reduce(0) { $0 + $1.value }
        return shown + (rest > 0 ? ["\(rest) requests failed for other reasons"] : [])
    }
}
