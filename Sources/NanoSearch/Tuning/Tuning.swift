import Foundation
package import NanoFlow

/// What tuning has found.
package struct Tuning: Sendable {
    package let profile: MachineProfile
    /// Steps of the profile that there was no time to run.
    package let missingCount: Int
    package let device: MeasuredDevice
    /// A workload's speed by tokens in one step, in their order.
    package let tokenBudgets: [TokenBudget]
    /// The best of them, and what the engine has room for.
    package let tokenBudget: Int
    package let tokenLimit: Int
    /// Classes of batches, those that take most time first.
    package let shapes: [Shape]
    /// Seconds that all of it took.
    package let seconds: Double

    /// Tokens in one step at most, with what is predicted of the workload.
    package struct TokenBudget: Sendable, Hashable {
        package let tokens: Int
        /// Tokens a second.
        package let sequential: Double
        package var tuned: Double
    }

    /// A class of batches.
    package struct Shape: Sendable {
        package let entry: ShapeClasses.Entry
        /// Of the workload's time in sequence.
        package let timeShare: Double
        package let search: PlanSearch.Result
        /// Seconds of a sequential step by kind of operation, as predicted.
        package let kinds: [NanoFlow.Operation.Kind: Double]
        /// The first is the sequential plan.
        package var candidates: [Candidate]
        package private(set) var chosen = 0

        package init(
            entry: ShapeClasses.Entry, timeShare: Double, search: PlanSearch.Result,
            kinds: [NanoFlow.Operation.Kind: Double], candidates: [Candidate]
        ) {
            (self.entry, self.timeShare, self.search) = (entry, timeShare, search)
            (self.kinds, self.candidates) = (kinds, candidates)
        }

        package var winner: Candidate { candidates[chosen] }

        /// How many times as fast as the sequential plan a candidate is, by prediction and
        /// measurement together.
        ///
        /// The mean of both, in logarithms, weighed by how far each is usually off: predictions by
        /// 4 %, the ratio of two runs by 5 %, of n pairs of runs by 1 / √n of that. A measurement
        /// that goes beyond what any plan can gain counts as that.
        package func gain(_ index: Int) -> Double {
            let (base, candidate) = (candidates[0], candidates[index])
            let predicted = log(base.predictedSeconds / candidate.predictedSeconds)
            guard let seconds = candidate.measuredSeconds, let other = base.measuredSeconds else {
                return exp(predicted)
            }
            let runs = Double(min(candidate.samples.count, base.samples.count))
            let weights = (predicted: 1 / (0.04 * 0.04), measured: runs / (0.05 * 0.05))
            let measured = log(min(other / seconds, search.potential))
            let sum = weights.predicted * predicted + weights.measured * measured
            return exp(sum / (weights.predicted + weights.measured))
        }

        /// What a plan must gain for a batch to be cut, where it was run and where it was not.
        package static let leastGain = 1.01
        private static let leastPredictedGain = 1.05
        /// A plan this much slower than the sequential one in prediction is not run at all, and one
        /// this much slower than the best not again.
        static let hopeless = 1.03

        /// The sequential plan, and those that may still win.
        var contenders: [Int] {
            let best = candidates.indices.map(gain).max() ?? 1
            return candidates.indices.filter { $0 == 0 || gain($0) * Self.hopeless >= best }
        }

        /// Takes the fastest, or the sequential plan where none gains enough.
        mutating func choose() {
            let isBaseRun = !candidates[0].samples.isEmpty
            let good = candidates.indices.filter { index in
                let isRun = isBaseRun && !candidates[index].samples.isEmpty
                return gain(index) >= (isRun ? Self.leastGain : Self.leastPredictedGain)
            }
            chosen = good.max { gain($0) < gain($1) } ?? 0
        }
    }

    /// A plan that has been tried.
    package struct Candidate: Sendable {
        package let plan: PipelinePlan
        /// nil: the sequential plan.
        package let numbers: PlanNumbers?
        /// Of a step.
        package let predictedSeconds: Double
        /// Of a step, each time.
        package var samples: [Double] = []

        package init(_ plan: PipelinePlan, _ numbers: PlanNumbers?, predictedSeconds: Double) {
            (self.plan, self.numbers) = (plan, numbers)
            self.predictedSeconds = predictedSeconds
        }

        /// The median; nil: it has not been run.
        package var measuredSeconds: Double? { samples.isEmpty ? nil : samples.median }
    }

    /// How far predictions are off, for each plan that was run, as a part of what was measured.
    package var predictionErrors: [Double] {
        shapes.flatMap(\.candidates).compactMap { candidate in
            candidate.measuredSeconds.map { abs(candidate.predictedSeconds / $0 - 1) }
        }
    }

    /// The class to show: of those that are cut, the one that takes most time, or else of all.
    package var shown: Shape? { shapes.first { $0.winner.numbers != nil } ?? shapes.first }

    /// The plans that won, by their shapes.
    ///
    /// Where overlapping won anywhere, steps that the workload does not have, with enough to read,
    /// run as those do that took most time.
    package var table: PlanTable {
        var entries = shapes.map { shape -> PlanTable.Entry in
            var entry = PlanTable.Entry(shape: shape.entry.shape, plan: shape.winner.plan)
            entry.predictedSeconds = shape.winner.predictedSeconds
            entry.measuredSeconds = shape.winner.measuredSeconds
            return entry
        }
        if let overlapped = shapes.first(where: { $0.winner.numbers != nil }) {
            entries.append(
                PlanTable.Entry(shape: .enoughToRead, plan: overlapped.winner.plan))
        }
        return PlanTable(
            entries: entries, tokenBudget: .init(tokens: tokenBudget, limit: tokenLimit))
    }
}
