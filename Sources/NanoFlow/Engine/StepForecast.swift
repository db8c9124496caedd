/// How long steps take here, learnt from those that have run.
///
/// A step's time is taken as that of its decodes plus that of its prompt tokens:
///
///     [ decodes: weights once, a cache each )[ prompts: so much a token )
///
/// Steps of decodes alone tell the one, and what is left of mixed steps the other. Where there has been
/// none of late, or of far fewer decodes, there is to be one: else prompts would be blamed for decodes.
package struct StepForecast: Sendable {
    /// Of steps of decodes alone, on average of late: seconds, and sequences.
    private var decodeSeconds = 0.0
    private var decodeCount = 0.0
    private var secondsPerPrefillToken = 0.0
    /// Steps since the last one of decodes alone, and how many there were.
    private var mixedSteps = 0
    private var lastDecodes = 0

    /// How much the newest step counts.
    private static let weight = 0.2
    /// The same where it was high time for one.
    private static let surpriseWeight = 0.5
    /// Decodes beyond these are taken to cost in proportion; a step of few costs nearly as much.
    private static let fixedDecodes = 16.0
    /// A prompt gets on by at least so many tokens a step; fewer say little about the time of one.
    private static let smallestBudget = 4
    /// Steps for which decodes alone say what they take.
    private static let memory = 50

    package init() {}

    /// Takes in what a step has come to.
    package mutating func add(seconds: Double, decodes: Int, prefillTokens: Int) {
        guard seconds > 0 else { return }
        mixedSteps += 1
        if prefillTokens == 0 {
            let weight = knowsDecodes(decodes) ? Self.weight : Self.surpriseWeight
            Self.blend(&decodeSeconds, seconds, weight)
            Self.blend(&decodeCount, Double(decodes), weight)
            (mixedSteps, lastDecodes) = (0, decodes)
        } else if prefillTokens >= Self.smallestBudget {
            let rest = max(seconds / 10, seconds - self.decodeSeconds(decodes))
            Self.blend(&secondsPerPrefillToken, rest / Double(prefillTokens), Self.weight)
        }
    }

    private func knowsDecodes(_ count: Int) -> Bool {
        mixedSteps <= Self.memory && count <= 2 * lastDecodes
    }

    private static func blend(_ average: inout Double, _ value: Double, _ weight: Double) {
        average = average == 0 ? value : average + weight * (value - average)
    }

    /// Of a step of so many decodes; 0 as long as nothing is known.
    private func decodeSeconds(_ count: Int) -> Double {
        guard count > 0 else { return 0 }
        return decodeSeconds * (Double(count) + Self.fixedDecodes)
            / (decodeCount + Self.fixedDecodes)
    }

    /// Tokens of prompts that take `share` of the time of the step's decodes.
    ///
    /// And as much again for every request that waits as for every one that runs; nil: no bound, or nothing
    /// is known yet. None where it is time to see what decodes take alone.
    ///
    /// So a lone long prompt does not stall those that run, and these do not stall a queue: a bound
    /// that did not see it would keep batches small for as long as there is one.
    package func prefillBudget(share: Double?, decodes: Int, waiting: Int) -> Int? {
        guard let share, decodes > 0, decodeSeconds > 0, secondsPerPrefillToken > 0 else {
            return nil
        }
        guard knowsDecodes(decodes) else { return 0 }
        let pressure = 1 + Double(waiting) / Double(decodes)
        let tokens = share * pressure * decodeSeconds(decodes) / secondsPerPrefillToken
        return max(Self.smallestBudget, Int(min(tokens, 1e6)))
    }

    /// Seconds of the machine that a request takes from the others, among so many decodes; nil: nothing
    /// is known yet.
    package func seconds(promptTokens: Int, completionTokens: Int, among decodes: Int) -> Double? {
        guard secondsPerPrefillToken > 0, decodeCount > 0 else { return nil }
        return Double(promptTokens) * secondsPerPrefillToken
            + Double(completionTokens) * decodeSeconds(decodes) / Double(decodes)
    }
}
