/// Whose a sequence is, and the steps that the machine is predicted to spend on it.
package struct TenantShare: Sendable, Hashable {
    package let tenant: Int
    package let steps: Double

    package init(tenant: Int, steps: Double) {
        self.tenant = tenant
        self.steps = steps
    }
}

/// The order in which those who share the machine have their turns.
///
/// Start-time fair queueing (Goyal, Vin and Cheng 1996), with steps as the clock.
///
///     A's   [ 40 steps )[ 40 steps )[ 40 steps )      asked for at once, at step 100
///     turn  100         140         180
///     B's         [ 40 steps )                        asked for at step 110: before A's second
///
/// A tenant's next sequence is placed as if it had come when the predicted time of those before it was
/// used up. Who asks for more than its share stands behind itself, and not in the way of others.
package struct TenantTurns {
    /// When each tenant's next turn comes; those that have passed are forgotten.
    private var nextTurns: [Int: Double] = [:]

    package init() {}

    /// The step in whose place a sequence that comes at `step` stands.
    package mutating func turn(of share: TenantShare?, step: Int) -> Int {
        guard let share else { return step }
        if nextTurns.count > Self.capacity {
            nextTurns = nextTurns.filter { $0.value > Double(step) }
        }
        let turn = max(Double(step), nextTurns[share.tenant] ?? 0)
        nextTurns[share.tenant] = turn + max(0, share.steps)
        return Int(turn)
    }

    private static let capacity = 1024
}
