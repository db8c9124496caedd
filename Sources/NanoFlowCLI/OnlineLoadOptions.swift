import ArgumentParser
import NanoClient
import NanoFlow

/// The options that choose what a server is asked, and when.
struct OnlineLoadOptions: ParsableArguments {
    /// When requests come.
    enum ArrivalKind: String, ExpressibleByArgument, CaseIterable {
        case poisson
        case recorded
    }

    @Option(
        help: """
            Requests: a JSON list of {"prompt_token_ids": [...], "output_len": n}, or JSON lines \
            of {"prompt": "text", "max_tokens": n}.
            """)
    var workload: String?

    @Option(
        help: """
            Lengths: a CSV file with the columns ContextTokens and GeneratedTokens, or JSON lines \
            with "input_length", "output_length" and "hash_ids" of 512 tokens each, as Mooncake's \
            traces have them; equal hashes become equal token ids.
            """)
    var trace: String?

    @Option(help: "Tokens of each prompt, without a file.")
    var promptTokens: Int?

    @Option(help: "Tokens of each completion, without a file.")
    var completionTokens: Int?

    @Option(help: "Requests of each load: the first of the file within the limits.")
    var requests: Int?

    @Option(
        help: ArgumentHelp(
            "Send what arrives in this time, as 60s or 5m; answers are waited for.",
            valueName: "time"))
    var duration: Seconds?

    @Option(help: "Leave out rows of the trace with longer prompts.")
    var maxPrompt: Int?

    @Option(help: "Leave out rows of the trace with longer completions.")
    var maxCompletion: Int?

    @Option(
        help: """
            poisson: with exponential gaps that --seed chooses, scaled so that n requests take n / \
            --rate seconds; recorded: as the trace's column TIMESTAMP (dates, or seconds) or its \
            "timestamp" (ms) has it, at --speed.
            """)
    var arrivals: ArrivalKind = .poisson

    @Option(
        name: [.customLong("rate"), .customLong("rates")],
        help: ArgumentHelp(
            """
            Requests a second; several, with commas, are a sweep of one load after the other; inf \
            sends all at once.
            """, valueName: "numbers"))
    var rates: NumberList?

    @Option(
        name: [.customLong("speed"), .customLong("speeds")],
        help: ArgumentHelp(
            "How many times as fast as recorded; several, with commas, are a sweep (default: 1).",
            valueName: "numbers"))
    var speeds: NumberList?

    @Option(help: "Chooses the gaps between requests, and the token ids of random prompts.")
    var seed: UInt64 = 0

    @Option(
        help: """
            Draw the ids of random prompts from a vocabulary of so many tokens, but for the lowest \
            1000.
            """)
    var vocabulary = 30_000

    func validate() throws {
        let isSized = promptTokens != nil || completionTokens != nil
        guard [workload != nil, trace != nil, isSized].filter({ $0 }).count == 1 else {
            throw ValidationError(
                "Give one of --workload, --trace, and --prompt-tokens with --completion-tokens.")
        }
        guard !isSized || promptTokens != nil && completionTokens != nil else {
            throw ValidationError("--prompt-tokens and --completion-tokens belong together.")
        }
        guard workload != nil || requests != nil || duration != nil else {
            throw ValidationError("Give --requests, --duration or both: where the load ends.")
        }
        guard trace != nil || maxPrompt == nil && maxCompletion == nil else {
            throw ValidationError("--max-prompt and --max-completion choose rows of a --trace.")
        }
        guard (2...Workload.maxTokenCount).contains(vocabulary) else {
            throw ValidationError(
                "--vocabulary must be 2 to \(Workload.maxTokenCount). Given: \(vocabulary).")
        }
        try checkArrivals()
    }

    private func checkArrivals() throws {
        switch arrivals {
        case .poisson:
            guard let rates, speeds == nil else {
                throw ValidationError(
                    "Give --rate, in requests a second; --speed belongs to --arrivals recorded.")
            }
            guard rates.values.count == 1 || rates.values.allSatisfy(\.isFinite) else {
                throw ValidationError("--rate inf cannot be part of a sweep.")
            }
        case .recorded:
            guard trace != nil, rates == nil else {
                throw ValidationError(
                    "--arrivals recorded needs a --trace, whose rate --speed changes, not --rate.")
            }
            guard speeds?.values.allSatisfy(\.isFinite) ?? true else {
                throw ValidationError("--speed must be a finite number.")
            }
        }
    }

    /// Reads or makes the loads, one for each rate or speed.
    func loads() throws(NanoFlowError) -> [OnlineLoad] {
        let source = try source()
        let arrivals: [OnlineLoad.Arrivals] =
            switch self.arrivals {
            case .poisson: (rates?.values ?? []).map { .poisson(rate: $0) }
            case .recorded: (speeds?.values ?? [1]).map { .recorded(speed: $0) }
            }
        let limits = OnlineLoad.Limits(requestCount: requests, duration: duration?.count)
        var loads: [OnlineLoad] = []
        for (index, arrivals) in arrivals.enumerated() {
            loads.append(
                try OnlineLoad(source, arrivals, limits: limits, seed: seed, index: index))
        }
        return loads
    }

    private func source() throws(NanoFlowError) -> RequestSource {
        if let workload { return .workload(try Workload(file: workload)) }
        if let trace {
            return .trace(
                try RecordedTrace(
                    file: trace, maxPrompt: maxPrompt, maxCompletion: maxCompletion,
                    needsArrivals: arrivals == .recorded))
        }
        // Checks the numbers.
        let one = try Workload(
            promptTokens: promptTokens ?? 0, completionTokens: completionTokens ?? 0,
            requestCount: requests ?? 1, seed: seed)
        return .sized(
            promptTokens: one.requests[0].prompt.tokenCount ?? 0,
            completionTokens: one.requests[0].outputLength)
    }
}

/// Numbers above 0, with commas between them.
struct NumberList: ExpressibleByArgument {
    let values: [Double]

    init?(argument: String) {
        let parts = argument.split(separator: ",", omittingEmptySubsequences: false)
        values = parts.compactMap { Double($0) }.filter { $0 > 0 }
        guard values.count == parts.count, !values.isEmpty else { return nil }
    }
}
