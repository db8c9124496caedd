import Foundation
import NanoFlow

/// The figures of one load under the names and in the form that `vllm bench serve` prints, with the
/// normalised latency and the client's own lag below.
package struct LoadReport: Sendable {
    private static let width = 50
    private static let nameWidth = 40

    private let figures: LoadFigures
    private let rate: Double
    private let maxConcurrency: Int?

    /// - Parameters:
    ///   - figures: What is reported.
    ///   - rate: Requests a second that were asked for.
    ///   - maxConcurrency: Requests that could be in flight; nil without a limit.
    package init(_ figures: LoadFigures, rate: Double, maxConcurrency: Int?) {
        self.figures = figures
        self.rate = rate
        self.maxConcurrency = maxConcurrency
    }

    package var text: String {
        let sections = [
            section("Time to First Token", "TTFT", figures.ttft),
            section("Time per Output Token (excl. 1st token)", "TPOT", figures.tpot),
            section("Inter-token Latency", "ITL", figures.itl),
            section("Normalised Latency (latency / tokens)", "NL", figures.normalizedLatency),
            section("Lateness of the Client's Sends", "lag", figures.lag),
        ]
        let lines =
            [Self.centred(" Serving Benchmark Result ", "=")] + totals + sections.joined()
            + [String(repeating: "=", count: Self.width)]
        return lines.joined(separator: "\n")
    }

    private var totals: [String] {
        var lines = [
            line("Successful requests:", "\(figures.completed)"),
            line("Failed requests:", "\(figures.failed)"),
        ]
        if let maxConcurrency {
            lines.append(line("Maximum request concurrency:", "\(maxConcurrency)"))
        }
        if rate.isFinite { lines.append(line("Request rate configured (RPS):", rate)) }
        lines += [
            line("Benchmark duration (s):", figures.duration),
            line("Total input tokens:", "\(figures.inputTokens)"),
            line("Total generated tokens:", "\(figures.generatedTokens)"),
            line("Request throughput (req/s):", figures.requestThroughput),
        ]
        if let goodput = figures.requestGoodput {
            lines.append(line("Request goodput (req/s):", goodput))
        }
        return lines + [
            line("Output token throughput (tok/s):", figures.outputThroughput),
            line("Peak output token throughput (tok/s):", figures.peakOutputThroughput),
            line("Peak concurrent requests:", Double(figures.peakConcurrentRequests)),
            line("Total token throughput (tok/s):", figures.totalThroughput),
        ]
    }

    private func section(_ title: String, _ name: String, _ values: Distribution?) -> [String] {
        let unit = name == "NL" ? "(ms/token)" : "(ms)"
        let rows = [("Mean", values?.mean), ("Median", values?.median), ("P99", values?.p99)]
        return [Self.centred(title, "-")]
            + rows.map { word, value in
                let label = "\(word) \(name) \(unit):"
                return value.map { line(label, $0) } ?? line(label, "n/a")
            }
    }

    private func line(_ name: String, _ value: Double) -> String {
        line(name, decimal(value, 2))
    }

    private func line(_ name: String, _ value: String) -> String {
        name.padding(toLength: Self.nameWidth, withPad: " ", startingAt: 0) + " \(value)"
    }

    private static func centred(_ title: String, _ fill: Character) -> String {
        let rest = max(0, width - title.count)
        return String(repeating: fill, count: rest / 2) + title
            + String(repeating: fill, count: rest - rest / 2)
    }
}
