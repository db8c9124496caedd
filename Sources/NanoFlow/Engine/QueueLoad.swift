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
