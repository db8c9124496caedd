import ArgumentParser
import Foundation
import NanoFlow

/// `nanoflow generate`: one completion, streamed to standard output.
struct GenerateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate", abstract: "Continues a prompt, or answers it as a chat message.")

    @OptionGroup var options: ModelOptions

    @Option(help: "The prompt; - reads standard input.")
    var prompt: String

    @Flag(help: "Take the prompt as it is, without the model's chat template.")
    var raw = false

    @Option(help: "A system message for the chat.")
    var system: String?

    @Option(help: "Tokens of the completion at most (default: what the context leaves).")
    var maxTokens: Int?

    @Option(help: "0 takes the likeliest token; higher values vary more.")
    var temperature = 0.0

    @Option(help: "Makes draws repeatable.")
    var seed: UInt64?

    @Option(help: "Text that ends the completion; may be given several times.")
    var stop: [String] = []

    @Flag(help: "Go on after end-of-sequence tokens.")
    var ignoreEos = false

    @Option(
        help: "Write the completion and its token ids as JSON to this file; - is standard output.")
    var json: String?

    func validate() throws {
        try checkWritable(json)
    }

    func run() async throws {
        let text = try promptText()
        let llm = try await options.load()
        let sampling = SamplingParameters(
            temperature: temperature, seed: seed, maxTokens: maxTokens, stopStrings: stop,
            ignoresEndOfSequence: ignoreEos)
        do {
            try await stream(llm, text, sampling)
        } catch let error as NanoFlowError {
            printError("nanoflow: \(error)")
            throw ExitCode.failure
        }
        await llm.shutdown()
    }

    private func stream(_ llm: LLM, _ text: String, _ sampling: SamplingParameters) async throws {
        let showsText = json != "-"
        let start = ContinuousClock.now
        var first: Duration?
        var output = Output(run: RunDescription(llm))
        for try await event in try llm.stream(prompt(text), sampling: sampling) {
            first = first ?? start.duration(to: .now)
            switch event {
            case .token(let token, let piece):
                output.tokenIds.append(token.id)
                output.text += piece
                if showsText { printPart(piece) }
            case .finished(let end):
                output.text += end.text
                if showsText { printPart(end.text + "\n") }
                output.finishReason = end.reason.rawValue
                report(end.usage, first ?? .zero, start.duration(to: .now))
            case .prompt: break
            }
        }
        if let json { try writeJSON(output, to: json) }
    }

    private func prompt(_ text: String) -> Prompt {
        if raw { return .text(text) }
        let system = system.map { [ChatMessage(role: "system", content: $0)] } ?? []
        return .chat(system + [ChatMessage(role: "user", content: text)])
    }

    private func promptText() throws -> String {
        guard prompt == "-" else { return prompt }
        let data = try FileHandle.standardInput.readToEnd() ?? Data()
        return String(decoding: data, as: UTF8.self)
    }

    private func report(_ usage: TokenUsage, _ first: Duration, _ whole: Duration) {
        let decode = whole - first
        let rate = Double(max(0, usage.completionTokens - 1)) / max(decode / .seconds(1), 1e-9)
        printError(
            String(
                format: "%d prompt tokens, first token after %.2f s, %d completion tokens, %.1f/s",
                usage.promptTokens, first / .seconds(1), usage.completionTokens, rate))
    }

    private struct Output: Encodable {
        let run: RunDescription
        var text = ""
        var tokenIds: [Int] = []
        var finishReason = ""
    }
}
