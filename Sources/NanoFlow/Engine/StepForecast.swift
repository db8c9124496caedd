/// How long steps take here, learnt from those that have run.
///
/// A step's time is taken as that of its decodes plus that of its prompt tokens:
///
///     [ decodes: weights once, a cache each )[ prompts: so much a token )
package struct StepForecast: Sendable {
    /// Of steps of decodes alone, on average of late: seconds, and sequences.
    private var decodeSeconds = 0.0
    private var decodeCount = 0.0
    private var secondsPerPrefillToken = 0.0
    private var stepSeconds = 0.0

    /// How much the newest step counts.
    private static let weight = 0.2
    /// Decodes beyond these are taken to cost in proportion; a step of few costs nearly as much.
    private static let fixedDecodes = 16.0
    /// Fewer prompt tokens in a step say little about the time of one.
    private static let measurableTokens = 16
    private static let smallestBudget = 16

    package init() {}

    /// Takes in what a step has come to.
    package mutating func add(seconds: Double, decodes: Int, prefillTokens: Int) {
        guard seconds > 0 else { return }
        Self.blend(&stepSeconds, seconds)
        if prefillTokens == 0 {
            Self.blend(&decodeSeconds, seconds)
            Self.blend(&decodeCount, Double(decodes))
        } else if prefillTokens >= Self.measurableTokens {
            let rest = max(seconds / 10, seconds - self.decodeSeconds(decodes))
            Self.blend(&secondsPerPrefillToken, rest / Double(prefillTokens))
        }
    }

    private static func blend(_ average: inout Double, _ value: Double) {
        average = average == 0 ? value : average + weight * (value - average)
    }

    /// Of a step of so many decodes; 0 as long as nothing is known.
    private func decodeSeconds(_ count: Int) -> Double {
        guard count > 0 else { return 0 }
        return decodeSeconds * (Double(count) + Self.fixedDecodes)
            / (decodeCount + Self.fixedDecodes)
    }

    /// Tokens of prompts that take `share` of the time of the step's decodes, and as much again for every
    /// request that waits as for every one that runs; nil: no bound, or nothing is known yet.
    ///
    /// So a lone long prompt does not stall those that run, and these do not stall a queue: a bound
    /// that did not see it would keep batches small for as long as there is one.
    package func prefillBudget(share: Double?, decodes: Int, waiting: Int) -> Int? {
        guard let share, decodes > 0, decodeSeconds > 0, secondsPerPrefillToken > 0 else {
            return nil
        }
        let pressure = 1 + Double(waiting) / Double(decodes)
        let tokens = share * pressure * decodeSeconds(decodes) / secondsPerPrefillToken
        return max(Self.smallestBudget, Int(min(tokens, 1e6)))
    }

    /// Seconds of the machine that a request takes from the others, with those decodes that it will
    /// likely run beside; nil: nothing is known yet.
    package func seconds(promptTokens: Int, completionTokens: Int) -> Double? {
        guard secondsPerPrefillToken > 0, decodeCount > 0 else { return nil }
        return Double(promptTokens) * secondsPerPrefillToken
            + Double(completionTokens) * decodeSeconds / max(1, decodeCount)
    }

    /// As steps of the usual length.
    func steps(_ seconds: Double) -> Double {
        stepSeconds > 0 ? seconds / stepSeconds : 0
    }
}
