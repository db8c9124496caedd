import Synchronization

/// What the engine has launched since it was started: counted by its thread, read by any.
package final class StepCounters: Sendable {
    /// Sums over steps.
    package struct Sums: Sendable, Hashable {
        package var steps = 0
        /// Steps that took at least one row through the LM head.
        package var logitSteps = 0
        /// Steps that were cut into more than one nano-batch.
        package var cutSteps = 0
        /// Positions computed.
        package var tokens = 0
        /// Positions whose keys and values are read: each sequence's context, once a step.
        package var contextTokens = 0

        package init(
            steps: Int = 0, logitSteps: Int = 0, cutSteps: Int = 0, tokens: Int = 0,
            contextTokens: Int = 0
        ) {
            self.steps = steps
            self.logitSteps = logitSteps
            self.cutSteps = cutSteps
            self.tokens = tokens
            self.contextTokens = contextTokens
        }

        package static func - (later: Sums, earlier: Sums) -> Sums {
            Sums(
                steps: later.steps - earlier.steps,
                logitSteps: later.logitSteps - earlier.logitSteps,
                cutSteps: later.cutSteps - earlier.cutSteps,
                tokens: later.tokens - earlier.tokens,
                contextTokens: later.contextTokens - earlier.contextTokens)
        }
    }

    private let steps = Atomic<Int>(0)
    private let logitSteps = Atomic<Int>(0)
    private let cutSteps = Atomic<Int>(0)
    private let tokens = Atomic<Int>(0)
    private let contextTokens = Atomic<Int>(0)

    func count(_ batch: Batch, nanoBatchCount: Int) {
        var sums = Sums(steps: 1)
        for item in batch.items {
            sums.tokens += item.positions.count
            sums.contextTokens += item.positions.upperBound
            if item.logits != .none { sums.logitSteps = 1 }
        }
        steps.wrappingAdd(sums.steps, ordering: .relaxed)
        logitSteps.wrappingAdd(sums.logitSteps, ordering: .relaxed)
        if nanoBatchCount > 1 { cutSteps.wrappingAdd(1, ordering: .relaxed) }
        tokens.wrappingAdd(sums.tokens, ordering: .relaxed)
        contextTokens.wrappingAdd(sums.contextTokens, ordering: .relaxed)
    }

    package var sums: Sums {
        Sums(
            steps: steps.load(ordering: .relaxed), logitSteps: logitSteps.load(ordering: .relaxed),
            cutSteps: cutSteps.load(ordering: .relaxed), tokens: tokens.load(ordering: .relaxed),
            contextTokens: contextTokens.load(ordering: .relaxed))
    }
}
