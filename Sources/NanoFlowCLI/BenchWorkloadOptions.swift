import ArgumentParser
import NanoFlow

/// The options that choose what a benchmark runs: a file, a trace, or requests of one size.
struct BenchWorkloadOptions: ParsableArguments {
    @Option(
        help: """
            Requests: a JSON list of {"prompt_token_ids": [...], "output_len": n}, or JSON lines \
            of {"prompt": "text", "max_tokens": n}.
            """)
    var workload: String?

    @Option(help: "Lengths: a CSV file with the columns ContextTokens and GeneratedTokens.")
    var trace: String?

    @Option(help: "Tokens of each prompt, without a file.")
    var promptTokens: Int?

    @Option(help: "Tokens of each completion, without a file.")
    var completionTokens: Int?

    @Option(help: "Requests: the first rows of the trace within the limits, or of one size.")
    var requests: Int?

    @Option(help: "Leave out rows of the trace with longer prompts.")
    var maxPrompt: Int?

    @Option(help: "Leave out rows of the trace with longer completions.")
    var maxCompletion: Int?

    @Option(help: "Chooses the token ids of random prompts.")
    var seed: UInt64 = 0

    func validate() throws {
        let isSized = promptTokens != nil || completionTokens != nil
        let sources = [workload != nil, trace != nil, isSized].filter { $0 }
        guard sources.count == 1 else {
            throw ValidationError(
                "Give one of --workload, --trace, and --prompt-tokens with --completion-tokens.")
        }
        guard !isSized || promptTokens != nil && completionTokens != nil else {
            throw ValidationError("--prompt-tokens and --completion-tokens belong together.")
        }
        guard (requests == nil) == (workload != nil) else {
            throw ValidationError(
                "--requests is how many; it must be given, but for --workload, which has its own.")
        }
        guard trace != nil || maxPrompt == nil && maxCompletion == nil else {
            throw ValidationError("--max-prompt and --max-completion choose rows of a --trace.")
        }
    }

    /// Reads or makes the requests.
    func read() throws(NanoFlowError) -> Workload {
        if let workload { return try Workload(file: workload) }
        if let trace {
            return try Workload(
                trace: trace,
                limits: Workload.TraceLimits(
                    requestCount: requests ?? 0, maxPrompt: maxPrompt,
                    maxCompletion: maxCompletion),
                seed: seed)
        }
        return try Workload(
            promptTokens: promptTokens ?? 0, completionTokens: completionTokens ?? 0,
            requestCount: requests ?? 0, seed: seed)
    }
}
