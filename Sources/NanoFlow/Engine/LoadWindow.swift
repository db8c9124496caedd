/// What steps have computed.
package struct StepLoad: Sendable, Hashable {
    package var steps = 0
    /// Steps that took at least one row through the LM head, and all those rows.
    package var logitSteps = 0
    package var logitRows = 0
    /// Positions computed.
    package var tokens = 0
    /// The sum over these of the positions that each attends to, its own included.
    package var attendedPositions = 0.0
    /// Positions whose keys and values are read: each sequence's context, once a step.
    package var contextTokens = 0

    package init() {}

    init(_ batch: Batch) {
        steps = 1
        for item in batch.items {
            let (first, end) = (
                Double(item.positions.lowerBound), Double(item.positions.upperBound)
            )
            tokens += item.positions.count
            contextTokens += item.positions.upperBound
            attendedPositions += (end * (end + 1) - first * (first + 1)) / 2
            switch item.logits {
            case .none: break
            case .last: logitRows += 1
            case .all: logitRows += item.positions.count
            }
        }
        logitSteps = logitRows > 0 ? 1 : 0
    }

    static func += (sum: inout StepLoad, other: StepLoad) {
        sum.steps += other.steps
        sum.logitSteps += other.logitSteps
        sum.logitRows += other.logitRows
        sum.tokens += other.tokens
        sum.attendedPositions += other.attendedPositions
        sum.contextTokens += other.contextTokens
    }
}

/// The load of the last ten seconds, in slots of a quarter of a second.
package struct LoadWindow: Sendable {
    static let seconds = 10.0
    private static let slotNanoseconds: UInt64 = 250_000_000
    private static let slotCount: UInt64 = 40

    private var slots = [(number: UInt64, load: StepLoad)](
        repeating: (0, StepLoad()), count: Int(slotCount))

    package init() {}

    /// Adds a step that has ended at `now`, of `monotonicNanoseconds()`.
    package mutating func add(_ load: StepLoad, now: UInt64) {
        let number = now / Self.slotNanoseconds
        let index = Int(number % Self.slotCount)
        if slots[index].number != number { slots[index] = (number, StepLoad()) }
        slots[index].load += load
    }

    /// The sum up to `now`.
    package func sum(now: UInt64) -> StepLoad {
        let newest = now / Self.slotNanoseconds
        return slots.reduce(into: StepLoad()) { sum, slot in
            if slot.number + Self.slotCount > newest { sum += slot.load }
        }
    }
}
