/// What requests are predicted to take, before the engine has seen them.
package struct QueueForecast: Sendable {
    var times = StepForecast()
    /// Tokens that a completion has where nothing but its limit is known.
    var likelyTokens = 0
    /// Sequences that may run at once, and those that the KV cache has room for as well.
    var sequences = 1
    var fittingSequences = 1

    /// Seconds that a request adds to the wait of those behind it; nil as long as nothing is known.
    ///
    /// Where it is one of so few that it need not wait for another's end, that is its prompt's time.
    func seconds(_ request: EngineRequest, behind count: Int) -> Double? {
        let waitsForAnEnd = count >= fittingSequences
        return times.seconds(
            promptTokens: request.prompt.count,
            completionTokens: waitsForAnEnd ? completionTokens(request) : 0,
            among: fittingSequences)
    }

    /// What a tenant is charged for a request: milliseconds of the machine.
    ///
    /// As if the machine were always full, so that equal requests cost the same whenever they come. Before
    /// anything is known, tokens stand for time.
    func cost(promptTokens: Int, completionTokens: Int) -> Double {
        let seconds = times.seconds(
            promptTokens: promptTokens, completionTokens: completionTokens, among: sequences)
        return seconds.map { 1000 * $0 } ?? Double(promptTokens + completionTokens)
    }

    func completionTokens(_ request: EngineRequest) -> Int {
        request.sampling.endsAtLimit ? request.maxTokens : min(request.maxTokens, likelyTokens)
    }
}

/// What has been submitted and has not ended, by tenant.
struct QueueLoad: Sendable {
    struct Part: Sendable {
        var count = 0
        /// Of prompts.
        var tokens = 0
        /// Predicted, of those that have not begun.
        var queuedSeconds = 0.0
    }

    private(set) var total = Part()
    private var parts: [Int?: Part] = [:]

    subscript(tenant: Int?) -> Part { parts[tenant] ?? Part() }

    mutating func add(_ request: EngineRequest, queuedSeconds: Double) {
        change(request.tenant) {
            $0.count += 1
            $0.tokens += request.prompt.count
            $0.queuedSeconds += queuedSeconds
        }
    }

    /// Notes that a request has begun, or will not.
    mutating func leaveQueue(_ tenant: Int?, queuedSeconds: Double) {
        // Sums of rounded numbers.
        change(tenant) { $0.queuedSeconds = max(0, $0.queuedSeconds - queuedSeconds) }
    }

    mutating func end(_ tenant: Int?, promptTokens: Int) {
        change(tenant) {
            $0.count -= 1
            $0.tokens -= promptTokens
        }
        if self[tenant].count == 0 { parts[tenant] = nil }
        if parts.isEmpty { total = Part() }
    }

    private mutating func change(_ tenant: Int?, _ body: (inout Part) -> Void) {
        body(&total)
        body(&parts[tenant, default: Part()])
    }

    /// Seconds for which requests will wait that take so long: until the last of them begins each other
    /// tenant is served for no longer than this one.
    func waitingSeconds(of tenant: Int?, asking seconds: Double) -> Double {
        guard tenant != nil else { return total.queuedSeconds }
        let own = self[tenant].queuedSeconds + seconds
        return parts.reduce(0) {
            let queued = $1.value.queuedSeconds
            return $0 + ($1.key == tenant ? queued : min(queued, own))
        }
    }
}
