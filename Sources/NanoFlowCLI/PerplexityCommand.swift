import ArgumentParser
import Foundation
import NanoFlow
import NanoTokenizer

/// `nanoflow perplexity`: how well the model predicts a text, through the engine's own batches.
struct PerplexityCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "perplexity",
        abstract: "Measures the perplexity of a text under the model.",
        discussion: """
            The text is tokenised without a beginning-of-sequence token and cut into windows that \
            do not overlap; positions 2 to n of each are scored. All windows go through the \
            engine's own batches, kernels and KV cache.
            """)

    @OptionGroup var options: ModelOptions

    @Option(help: "The text: a UTF-8 file.")
    var text: String

    @Option(help: "Tokens in a window.")
    var window = 512

    @Option(help: "Score no more than this many windows.")
    var maxWindows: Int?

    @Option(help: "Write the figures as JSON to this file; - is standard output.")
    var json: String?

    func validate() throws {
        try checkWritable(json)
        guard window >= 2 else {
            throw ValidationError("--window must be at least 2. Given: \(window).")
        }
        if let maxWindows, maxWindows < 1 {
            throw ValidationError("--max-windows must be at least 1. Given: \(maxWindows).")
        }
    }

    func run() async throws {
        guard let data = FileManager.default.contents(atPath: text),
            let content = String(data: data, encoding: .utf8)
        else {
            printError("nanoflow: \(text) cannot be read as UTF-8 text.")
            throw ExitCode.failure
        }
        let llm = try await options.load()
        guard window < llm.maxModelLength else {
            printError(
                "nanoflow: --window must be less than the context of \(llm.maxModelLength) tokens. "
                    + "Given: \(window).")
            throw ExitCode.validationFailure
        }
        let tokens = llm.engine.tokenizer.encode(content, parseSpecialTokens: false)
        let windows = stride(from: 0, to: tokens.count, by: window)
            .map { Array(tokens[$0..<min($0 + window, tokens.count)]) }
            .filter { $0.count > 1 }
        guard !windows.isEmpty else {
            printError("nanoflow: \(text) has fewer than two tokens.")
            throw ExitCode.failure
        }
        let scores = try await score(Array(windows.prefix(maxWindows ?? .max)), llm)
        await llm.shutdown()
        try report(scores, llm)
    }

    /// All windows at once, as far as the queue allows: the engine batches them.
    private func score(_ windows: [[Int]], _ llm: LLM) async throws -> [Float] {
        let progress = ProgressLine()
        defer { progress.clear() }
        return try await withThrowingTaskGroup(of: [Float].self) { group in
            var next = windows.startIndex
            var scores: [Float] = []
            var done = 0
            while done < windows.count {
                while next < windows.count, next - done < options.maxNumSeqs {
                    let window = windows[next]
                    group.addTask { try await llm.score(window) }
                    next += 1
                }
                if let result = try await group.next() { scores += result }
                done += 1
                progress.show("scoring", Double(done) / Double(windows.count))
            }
            return scores
        }
    }

    private func report(_ scores: [Float], _ llm: LLM) throws {
        // Summed in one order, so that the figure does not depend on which window ended first.
        let sum = scores.sorted().reduce(0.0) { $0 + Double($1) }
        let output = Output(
            run: RunDescription(llm), perplexity: exp(-sum / Double(scores.count)),
            tokens: scores.count, window: window)
        if json != "-" {
            print(
                String(
                    format: "perplexity %.4f over %d tokens (windows of %d, %@, KV %@)",
                    output.perplexity, output.tokens, window, output.run.precision,
                    output.run.kvPrecision))
        }
        if let json { try writeJSON(output, to: json) }
    }

    private struct Output: Encodable {
        let run: RunDescription
        let perplexity: Double
        let tokens: Int
        let window: Int

        private enum Key: String, CodingKey {
            case perplexity, tokens, window
        }

        /// One flat object.
        func encode(to encoder: any Encoder) throws {
            try run.encode(to: encoder)
            var container = encoder.container(keyedBy: Key.self)
            try container.encode(perplexity, forKey: .perplexity)
            try container.encode(tokens, forKey: .tokens)
            try container.encode(window, forKey: .window)
        }
    }
}
