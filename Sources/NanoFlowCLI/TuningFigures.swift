import Foundation
import NanoFlow
import NanoModel
import NanoSearch

/// The figures of a tuning, as text and as JSON.
struct TuningFigures: Encodable {
    private let schemaVersion = 1
    private let fingerprint: PlanFingerprint
    private let workload: String
    private let seconds: Double
    private let tokenBudget: Int
    private let tokenBudgets: [TokenBudget]
    private let plans: [Plan]
    /// The median over all plans that were run: how far the prediction is off, as a part of what was
    /// measured.
    private let predictionError: Double?

    private struct TokenBudget: Encodable {
        let tokens: Int
        let predictedSequentialTokensPerSecond: Double
        let predictedTokensPerSecond: Double
    }

    private struct Plan: Encodable {
        let shape: PlanTable.ShapeClass
        let timeShare: Double
        let numbers: PlanNumbers?
        let predictedSeconds: Double
        let measuredSeconds: Double?
        let sequentialPredictedSeconds: Double
        let sequentialMeasuredSeconds: Double?
        let lowerBoundSeconds: Double
        let evaluated: Int
        let exhaustive: Bool
        let candidates: [Candidate]
    }

    private struct Candidate: Encodable {
        let numbers: PlanNumbers?
        let predictedSeconds: Double
        let measuredSeconds: Double?
        let runs: Int
    }

    init(_ tuning: Tuning, _ fingerprint: PlanFingerprint, workload: String) {
        (self.fingerprint, self.workload) = (fingerprint, workload)
        (seconds, tokenBudget) = (tuning.seconds, tuning.tokenBudget)
        tokenBudgets = tuning.tokenBudgets.map {
            TokenBudget(
                tokens: $0.tokens, predictedSequentialTokensPerSecond: $0.sequential,
                predictedTokensPerSecond: $0.tuned)
        }
        plans = tuning.shapes.map { shape in
            Plan(
                shape: shape.entry.shape, timeShare: shape.timeShare,
                numbers: shape.winner.numbers, predictedSeconds: shape.winner.predictedSeconds,
                measuredSeconds: shape.winner.measuredSeconds,
                sequentialPredictedSeconds: shape.candidates[0].predictedSeconds,
                sequentialMeasuredSeconds: shape.candidates[0].measuredSeconds,
                lowerBoundSeconds: shape.search.lowerBound,
                evaluated: shape.search.evaluatedCount, exhaustive: shape.search.isExhaustive,
                candidates: shape.candidates.map {
                    Candidate(
                        numbers: $0.numbers, predictedSeconds: $0.predictedSeconds,
                        measuredSeconds: $0.measuredSeconds, runs: $0.samples.count)
                })
        }
        let errors = tuning.predictionErrors
        predictionError = errors.isEmpty ? nil : errors.median
    }

    var text: String {
        let rows = plans.map { plan -> String in
            pad(plan.shape.text, 58) + pad(format(plan.timeShare * 100, 0) + " %", -6)
                + pad(milliseconds(plan.sequentialMeasuredSeconds), -12)
                + pad(milliseconds(plan.measuredSeconds), -10)
                + pad(milliseconds(plan.predictedSeconds), -11)
                + pad(milliseconds(plan.lowerBoundSeconds), -9) + "  "
                + (plan.numbers?.text ?? "sequential")
        }
        let budgets = tokenBudgets.map {
            "\($0.tokens): \(format($0.predictedTokensPerSecond, 0))"
        }
        return """
            model       \(fingerprint.model)
            machine     \(fingerprint.machine), \(fingerprint.kernels)
            workload    \(workload)
            tokens      \(tokenBudget) a step; predicted tokens/s with \
            \(budgets.joined(separator: ", "))

            \(pad("steps", 58))\(pad("time", -6))\(pad("sequential", -12))\(pad("plan", -10))\
            \(pad("predicted", -11))\(pad("bound", -9))  plan
            \(rows.joined(separator: "\n"))

            A step's times in ms: measured in sequence and with the plan, predicted with the plan; no plan
            of any kind is faster than the bound. \(errorText)
            Tuned in \(format(seconds, 0)) s.
            """
    }

    private var errorText: String {
        predictionError.map { "Predictions are off by \(format($0 * 100, 1)) % (median)." }
            ?? "There was no time to run a plan."
    }

    private func milliseconds(_ seconds: Double?) -> String {
        seconds.map { format($0 * 1e3, 1) } ?? "-"
    }
}
