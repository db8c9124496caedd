package import NanoFlow

/// Where a load's requests come from, one after the other.
package enum RequestSource: Sendable {
    case workload(Workload)
    case trace(RecordedTrace)
    /// Without end, all of one size.
    case sized(promptTokens: Int, completionTokens: Int)

    /// nil where there is no end.
    package var count: Int? {
        switch self {
        case .workload(let workload): workload.requests.count
        case .trace(let trace): trace.rows.count
        case .sized: nil
        }
    }

    /// One of the requests: the prompt, whose ids are not drawn yet, and the completion's tokens.
    ///
    /// The seed is for a prompt that is drawn on its own, `loadSeed` for the prompts of one load
    /// that have beginnings in common.
    func request(
        _ index: Int, seed: UInt64, loadSeed: UInt64
    ) -> (prompt: OnlinePrompt, outputLength: Int) {
        switch self {
        case .workload(let workload):
            let request = workload.requests[index]
            return (OnlinePrompt(request.prompt, seed: seed), request.outputLength)
        case .trace(let trace):
            let row = trace.rows[index]
            let prompt: OnlinePrompt =
                row.hashIDs.isEmpty
                ? .random(count: row.promptTokens, seed: seed)
                : .hashed(
                    row.hashIDs, count: row.promptTokens,
                    tokensPerHash: MooncakeTrace.tokensPerID, seed: loadSeed)
            return (prompt, row.completionTokens)
        case .sized(let promptTokens, let completionTokens):
            return (.random(count: promptTokens, seed: seed), completionTokens)
        }
    }

    /// Seconds since the first row came.
    ///
    /// - Throws: ``NanoFlowError`` where the requests have no recorded times.
    func recordedArrivals() throws(NanoFlowError) -> [Double] {
        guard case .trace(let trace) = self, let first = trace.rows.first?.arrival else {
            throw NanoFlowError(
                .invalidConfiguration, field: "arrivals", limit: "poisson without a trace",
                given: "recorded")
        }
        return trace.rows.compactMap(\.arrival).map { $0 - first }
    }
}

extension OnlinePrompt {
    fileprivate init(_ prompt: Workload.Prompt, seed: UInt64) {
        self =
            switch prompt {
            case .text(let text): .text(text)
            case .tokens(let ids): .tokens(ids)
            case .random(let count): .random(count: count, seed: seed)
            }
    }
}
