/// Whose a sequence is, and what it is predicted to cost, in any unit that is the same for all.
package struct TenantShare: Sendable, Hashable {
    package let tenant: Int
    package let cost: Double

    package init(tenant: Int, cost: Double) {
        self.tenant = tenant
        self.cost = cost
    }
}

/// The order in which those who share the machine have their turns.
///
/// Start-time fair queueing (Goyal, Vin and Cheng 1996), with predicted costs as the measure of service:
///
///     A's   [ costs 40 )[ costs 40 )[ costs 40 )      asked for at once, at turn 100
///     turn  100         140         180
///     B's         [ costs 40 )                        asked for when A's first has begun: at turn 100
///
/// The clock is the latest turn that has begun. A tenant's sequence stands at the clock, or where those
/// before it end. So who asks for more than its share stands behind itself, and who comes new waits for
/// nobody's backlog, however long the machine has had one. Where a sequence has cost more than predicted,
/// or less, or was never run, its tenant's next one stands later or earlier by so much.
package struct TenantTurns {
    private var clock = 0.0
    /// When each tenant's next turn comes.
    private var nextTurns: [Int: Double] = [:]
    private var isUsed = false

    package init() {}

    /// The turn of a sequence that comes at `step`: the step itself as long as nobody has a share.
    package mutating func turn(of share: TenantShare?, step: Int) -> Int {
        guard let share else { return isUsed ? Int(clock) : step }
        if !isUsed {
            isUsed = true
            clock = Double(step)
        }
        let turn = max(clock, nextTurns[share.tenant] ?? 0)
        nextTurns[share.tenant] = turn + share.cost
        return Int(turn)
    }

    /// Notes what a sequence has cost in the end.
    package mutating func settle(_ share: TenantShare, cost: Double) {
        guard let next = nextTurns[share.tenant] else { return }
        nextTurns[share.tenant] = max(clock, next + cost - share.cost)
    }

    /// Notes that a sequence with this turn has begun.
    package mutating func begin(_ turn: Int) {
        clock = max(clock, Double(turn))
    }

    /// Notes that there is nothing to do: nobody has anything saved up, or stands behind itself.
    package mutating func rest() {
        clock = max(clock, nextTurns.values.max() ?? 0)
        nextTurns.removeAll()
    }
}
