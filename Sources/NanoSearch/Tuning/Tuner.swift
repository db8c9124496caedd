import NanoDevice
package import NanoFlow

/// What is tuned for, and within which limits.
package struct TuningTask: Sendable {
    package let layerCount: Int
    package let limits: Scheduler.Limits
    package let unitCount: Int
    /// All arrive at once.
    package let requests: [Workload.Request]
    /// Seconds for all of it.
    package let seconds: Double

    package init(
        layerCount: Int, limits: Scheduler.Limits, unitCount: Int,
        requests: [Workload.Request], seconds: Double
    ) {
        (self.layerCount, self.limits, self.unitCount) = (layerCount, limits, unitCount)
        (self.requests, self.seconds) = (requests, seconds)
    }

    var graph: OperationGraph { .decoder(layerCount: layerCount) }

    /// Ways to share the device that are measured, and searched among.
    var sharings: [SearchSpace.Sharing] { SearchSpace.Sharing.candidates(unitCount: unitCount) }
}

/// Finds the plans of a model on this machine for a workload: profiles, predicts, searches, and runs
/// the best few for real.
package struct Tuner<Runner: StepRunner> {
    private let task: TuningTask
    private var profile: MachineProfile
    private var runner: SteadyRunner<Runner>
    /// Seconds since the beginning.
    private let elapsed: () -> Double
    private let progress: (String, Double) -> Void
    private let save: (MachineProfile) -> Void

    /// Of the time, the part that the profile may take.
    private static var profileShare: Double { 0.5 }
    /// Rounds in which finalists run, at most.
    private static var rounds: Int { 7 }

    /// - Parameters:
    ///   - task: What to tune for.
    ///   - profile: What is known of the machine.
    ///   - runner: Runs steps.
    ///   - elapsed: Seconds since tuning began.
    ///   - save: Called with the profile as it grows.
    ///   - progress: Told what is being done, and how far it is.
    package init(
        _ task: TuningTask, profile: MachineProfile, runner: Runner,
        elapsed: @escaping () -> Double, save: @escaping (MachineProfile) -> Void,
        progress: @escaping (String, Double) -> Void
    ) {
        (self.task, self.profile) = (task, profile)
        self.runner = SteadyRunner(runner, task.limits, layerCount: profile.layerCount)
        (self.elapsed, self.save, self.progress) = (elapsed, save, progress)
    }

    /// Takes the task's time, and what replays and searches take beyond it.
    ///
    /// - Throws: ``NanoFlowError`` where the time did not suffice to measure what predictions need.
    package mutating func run() throws(NanoFlowError) -> Tuning {
        let cases = ProfileCase.all(
            task.limits, unitCount: task.unitCount, sharings: task.sharings)
        let device = try makeProfile(cases)
        let planning = WorkloadPlanning(task, device, progress)
        var (tokenBudgets, shapes) = planning.plans()
        measure(&shapes)
        return Tuning(
            profile: profile, missingCount: cases.count { profile[$0] == nil }, device: device,
            tokenBudgets: tokenBudgets.rates, tokenBudget: tokenBudgets.chosen,
            tokenLimit: task.limits.batchedTokens, shapes: shapes, seconds: elapsed())
    }

    // MARK: - Profile

    private mutating func makeProfile(
        _ cases: [ProfileCase]
    ) throws(NanoFlowError) -> MeasuredDevice {
        let (elapsed, save, progress) = (elapsed, save, progress)
        let end = Self.profileShare * task.seconds
        var saved = elapsed()
        progress("measuring operations", 0)
        runner.warmUp()
        Profiler(cases, layerCount: profile.layerCount).fill(
            &profile, with: &runner, hasTime: { elapsed() < end }
        ) { profile, share in
            progress("measuring operations", share)
            guard elapsed() > saved + 2 else { return }
            saved = elapsed()
            save(profile)
        }
        save(profile)
        var device = MeasuredDevice(profile)
        guard device.isComplete(for: cases) else {
            throw NanoFlowError(
                .invalidConfiguration, field: "budget",
                limit: "enough to measure decodes and prefill once",
                given: "\(task.seconds) s, of which \(end) s for measuring",
                message: "In \(end) s, half of the budget, not every kind of operation could be "
                    + "measured: \(profile.measurements.count) of \(cases.count) steps were. What "
                    + "has been measured is kept; run it again, or with a larger budget.")
        }
        device.referenceSeconds = runner.referenceSeconds.median
        return device
    }

    // MARK: - Measurement

    /// Runs the candidates in turns while there is time, and chooses.
    private mutating func measure(_ shapes: inout [Tuning.Shape]) {
        let reference = runner.referenceSeconds.median
        let plans = shapes.reduce(0) { $0 + $1.candidates.count }
        rounds: for round in 0..<Self.rounds {
            for shape in shapes.indices {
                for candidate in shapes[shape].contenders {
                    guard elapsed() < task.seconds else { break rounds }
                    let plan = shapes[shape].candidates[candidate].plan
                    let times = runner.run(
                        shapes[shape].entry.batch, plan, layerCount: task.layerCount)
                    guard let times else { continue }
                    // At the speed of the machine that the predictions are for.
                    shapes[shape].candidates[candidate].samples.append(times.seconds * reference)
                }
                progress(
                    "running the best \(plans) plans",
                    (Double(round) + Double(shape + 1) / Double(shapes.count))
                        / Double(Self.rounds))
            }
        }
        for shape in shapes.indices { shapes[shape].choose() }
    }
}
