package import NanoFlow

/// Times steps on a machine whose speed changes while it is measured.
///
/// Between any two steps one and the same small step runs, the reference, and times are given as
/// multiples of what it took around them: what slows all steps down alike cancels out.
package struct SteadyRunner<Runner: StepRunner> {
    private var runner: Runner
    private let reference: ProfileCase
    /// Layers that the reference runs with.
    private let layerCount: Int
    private var before: Double?
    /// What the reference took, each time.
    package private(set) var referenceSeconds: [Double] = []

    /// - Parameters:
    ///   - runner: Runs the steps.
    ///   - limits: Of the engine.
    ///   - layerCount: Layers that the reference runs with.
    package init(_ runner: Runner, _ limits: Scheduler.Limits, layerCount: Int) {
        (self.runner, self.layerCount) = (runner, layerCount)
        let context = min(320, limits.sequenceLength - 1)
        reference = ProfileCase(
            decodes: min(
                16, limits.sequences, limits.batchedTokens, limits.logitRows,
                limits.blockCount / limits.blocks(for: context)),
            context: context)
    }

    /// Runs the reference a few times: the first ones touch memory and code, and are not kept.
    package mutating func warmUp() {
        for _ in 0..<3 { _ = referenceStep() }
        referenceSeconds = []
        for _ in 0..<5 { before = referenceStep() }
    }

    /// Runs the batch with so many layers on so many units, or on all.
    ///
    /// - Returns: Its times in units of the reference's; nil where the plan would come to a
    ///   standstill.
    package mutating func run(
        _ batch: Batch, _ plan: PipelinePlan, layerCount: Int, units: Int? = nil
    ) -> StepTimes? {
        let first = before ?? referenceStep()
        guard let times = runner.run(batch, plan, layerCount: layerCount, units: units) else {
            return nil
        }
        let second = referenceStep()
        before = second
        return times.scaled(by: 2 / (first + second))
    }

    private mutating func referenceStep() -> Double {
        let plan = PipelinePlan.sequential(.decoder(layerCount: layerCount))
        guard
            let times = runner.run(reference.batch, plan, layerCount: layerCount, units: nil)
        else {
            preconditionFailure("The model's own order must respect all dependencies.")
        }
        referenceSeconds.append(times.seconds)
        return times.seconds
    }
}

extension StepTimes {
    package func scaled(by factor: Double) -> StepTimes {
        var scaled = self
        scaled.seconds *= factor
        scaled.kinds = kinds.mapValues { $0 * factor }
        scaled.waitingSeconds *= factor
        return scaled
    }
}
