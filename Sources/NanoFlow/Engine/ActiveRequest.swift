import NanoDevice

/// A request in the engine, with what its completion has come to; the engine's thread alone uses it.
final class ActiveRequest {
    let prompt: [Int32]
    let sampling: SlotSampling
    let biases: [LogitBias]
    let arrival: UInt64
    let maxTokens: Int
    let tenant: Int?
    /// What it adds to the wait of those behind it, as long as it has not begun.
    let queuedSeconds: Double
    private let parameters: SamplingParameters
    private let endTokens: Set<Int>
    private let events: AsyncStream<EngineEvent>.Continuation
    private var blockNamer: BlockNamer?
    private var stopMatcher: StopMatcher
    private var stop: StopCause?
    /// By position, the first of which is not scored; empty where nobody asked.
    private var scores: [PromptToken]
    private(set) var cachedPromptTokens = 0
    private(set) var completionTokens = 0
    // Of ``monotonicNanoseconds()``; 0: not yet.
    private(set) var beginning: UInt64 = 0
    private(set) var firstToken: UInt64 = 0
    private(set) var lastToken: UInt64 = 0

    init(
        _ request: EngineRequest, _ blockNamer: BlockNamer?, endTokens: Set<Int>,
        queuedSeconds: Double
    ) {
        prompt = request.prompt
        maxTokens = request.maxTokens
        arrival = request.arrival
        tenant = request.tenant
        parameters = request.sampling
        events = request.events
        self.endTokens = endTokens
        self.queuedSeconds = queuedSeconds
        self.blockNamer = blockNamer?.salted(request.cacheSalt)
        self.blockNamer?.append(request.prompt)
        let changes = parameters.biases(endTokens: endTokens)
        biases = changes.all
        var sampling = SlotSampling(
            parameters, seed: parameters.seed ?? .random(in: .min ... .max),
            promptCount: request.prompt.count)
        (sampling.biasCount, sampling.earlyBiasCount) = (changes.all.count, changes.earlyCount)
        self.sampling = sampling
        stopMatcher = StopMatcher(parameters.stopStrings, includesStop: parameters.includesStop)
        scores = parameters.promptLogprobCount == nil ? [] : prompt.map { PromptToken(id: Int($0)) }
    }

    var hasBegun: Bool { beginning > 0 }

    /// Tokens of the prompt that are computed; none before it begins.
    var computedPromptTokens: Int { hasBegun ? prompt.count - cachedPromptTokens : 0 }

    /// Of the full blocks of all tokens that are known.
    var blockNames: [BlockName] { blockNamer?.names ?? [] }

    /// Notes that the first step begins at a position: what stands before it was in the cache.
    func begin(at position: Int, now: UInt64) {
        beginning = now
        cachedPromptTokens = position
    }

    /// Notes how likely the prompt's token at a position is after those before it.
    func score(_ position: Int, _ token: PromptToken) {
        scores[position] = token
    }

    /// Tells the prompt's log-probabilities, all of which are known now.
    func tellScores() {
        events.yield(.prompt(scores))
        scores = []
    }

    /// Tells the token; returns why the completion ends with it, if it does.
    func accept(_ token: GeneratedToken, now: UInt64) -> FinishReason? {
        completionTokens += 1
        if firstToken == 0 { firstToken = now }
        lastToken = now
        blockNamer?.append(Int32(token.id))
        // Before that, its end tokens were ruled out; its texts are no stops yet either.
        let mayStop = completionTokens > parameters.minTokens
        if mayStop, parameters.stopTokens.contains(token.id) {
            events.yield(.token(token, certain: parameters.includesStop ? token.bytes : []))
            stop = .token(token.id)
            return .stop
        }
        if mayStop, !parameters.ignoresEndOfSequence, endTokens.contains(token.id) {
            // It is counted, and is no text.
            events.yield(.token(token, certain: []))
            return .stop
        }
        let (certain, found) = mayStop ? stopMatcher.append(token.bytes) : (token.bytes, nil)
        events.yield(.token(token, certain: certain))
        if let found {
            stop = .string(found)
            return .stop
        }
        return completionTokens == maxTokens ? .length : nil
    }

    /// Where its time has gone; `now` is its end.
    func timings(now: UInt64) -> RequestTimings {
        let begun = hasBegun ? beginning : now
        let first = firstToken > 0 ? firstToken : now
        let seconds = { (start: UInt64, end: UInt64) in Double(end &- start) / 1e9 }
        return RequestTimings(
            queued: seconds(arrival, begun), prefill: seconds(begun, max(first, begun)),
            decode: firstToken > 0 ? seconds(firstToken, lastToken) : 0)
    }

    func finish(_ reason: FinishReason, _ timings: RequestTimings) {
        events.yield(
            .finished(
                EngineEvent.Ending(
                    reason: reason, stop: stop, rest: stopMatcher.finish(),
                    completionTokens: completionTokens, cachedPromptTokens: cachedPromptTokens,
                    timings: timings)))
        events.finish()
    }

    /// Ends it before it has begun.
    func fail(_ error: NanoFlowError) {
        events.yield(.failed(error))
        events.finish()
    }
}
