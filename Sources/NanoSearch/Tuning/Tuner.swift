import Dispatch
import NanoDevice
package import NanoFlow
import NanoModel

/// Finds the plans of a model on this machine for a workload: profiles, predicts, searches, and runs
/// the best few for real.
package struct Tuner<Runner: StepRunner> {
    /// What is tuned for, and within which limits.
    package struct Task: Sendable {
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
    }

    private let task: Task
    private let graph: OperationGraph
    private var profile: MachineProfile
    private var runner: SteadyRunner<Runner>
    /// Seconds since the beginning.
    private let elapsed: () -> Double
    private let progress: (String, Double) -> Void
    private let save: (MachineProfile) -> Void

    /// Of the time, the part that the profile may take, and that at which measuring must begin.
    private static var profileShare: Double { 0.5 }
    /// Classes of batches at most, and what each must take of the workload's time.
    private static var classCount: Int { 8 }
    private static var classShare: Double { 0.02 }
    /// Plans of a class that are run, beside the sequential one and the one made by rule.
    private static var finalists: Int { 3 }
    /// Rounds in which finalists run, at most.
    private static var rounds: Int { 7 }
    /// A plan this much slower than the sequential one in prediction is not run at all, and one this
    /// much slower than the best not again.
    private static var hopeless: Double { 1.03 }
    /// Of several numbers of tokens in a step the largest is taken that is this close to the fastest: a
    /// larger batch reads the weights less often, whatever noise says.
    private static var closeEnough: Double { 0.98 }

    /// - Parameters:
    ///   - task: What to tune for.
    ///   - profile: What is known of the machine.
    ///   - runner: Runs steps.
    ///   - elapsed: Seconds since tuning began.
    ///   - save: Called with the profile as it grows.
    ///   - progress: Told what is being done, and how far it is.
    package init(
        _ task: Task, profile: MachineProfile, runner: Runner, elapsed: @escaping () -> Double,
        save: @escaping (MachineProfile) -> Void, progress: @escaping (String, Double) -> Void
    ) {
        (self.task, self.profile) = (task, profile)
        self.runner = SteadyRunner(runner, task.limits, layerCount: profile.layerCount)
        (self.elapsed, self.save, self.progress) = (elapsed, save, progress)
        graph = .decoder(layerCount: task.layerCount)
    }

    package mutating func run() -> Tuning {
        let device = makeProfile()
        var (budgets, classes) = replayInSequence(on: device)
        var best = Self.choice(budgets.map(\.sequential))
        var shapes = search(classes[best], on: device)
        progress("replaying the workload with the plans found", 0)
        for index in budgets.indices {
            budgets[index].tuned = rate(budgets[index].tokens, shapes, on: device)
        }
        let wanted = Self.choice(budgets.map(\.tuned))
        if wanted != best {
            best = wanted
            shapes = search(classes[best], on: device)
            budgets[best].tuned = rate(budgets[best].tokens, shapes, on: device)
        }
        measure(&shapes, reference: device.referenceSeconds)
        return Tuning(
            profile: profile, device: device, budgets: budgets, tokenBudget: budgets[best].tokens,
            shapes: shapes, seconds: elapsed())
    }

    /// Of rates in the order of their tokens in a step.
    private static func choice(_ rates: [Double]) -> Int {
        let fastest = rates.max() ?? 0
        return rates.lastIndex { $0 >= closeEnough * fastest } ?? 0
    }

    // MARK: - Profile

    private mutating func makeProfile() -> MeasuredDevice {
        let sharings = SearchSpace.Sharing.candidates(unitCount: task.unitCount)
        let cases = ProfileCase.all(
            task.limits, unitCount: task.unitCount, sharings: sharings)
        let (elapsed, save, progress) = (elapsed, save, progress)
        let end = Self.profileShare * task.seconds
        var saved = elapsed()
        // Pages are touched and code is loaded before anything is timed.
        _ = runner.run(cases[cases.count - 1].batch, .sequential(graph), layerCount: task.layerCount)
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
        device.referenceSeconds = runner.referenceSeconds.median
        return device
    }

    // MARK: - Prediction

    private func predictor(_ batch: Batch, _ device: MeasuredDevice) -> StepPredictor {
        StepPredictor(
            batch, layerCount: task.layerCount, graph: { .decoder(layerCount: $0) }, on: device)
    }

    /// The workload in sequence, with each number of tokens in a step.
    private func replayInSequence(
        on device: MeasuredDevice
    ) -> ([Tuning.Budget], [ShapeClasses]) {
        let limit = task.limits.batchedTokens
        let tokens = Set([limit / 4, limit / 2, limit * 3 / 4, limit].map { max(1, $0) }).sorted()
        var budgets: [Tuning.Budget] = []
        var classes: [ShapeClasses] = []
        for (index, count) in tokens.enumerated() {
            progress("replaying the workload", Double(index) / Double(tokens.count))
            var found = ShapeClasses()
            let rate = replay(count) { batch in
                let seconds = predictor(batch, device).sequentialSeconds
                found.add(batch, seconds: seconds)
                return seconds
            }
            budgets.append(Tuning.Budget(tokens: count, sequential: rate, tuned: rate))
            classes.append(found)
        }
        return (budgets, classes)
    }

    /// Tokens a second of the workload with the best plans of each class.
    private func rate(
        _ tokens: Int, _ shapes: [Tuning.Shape], on device: MeasuredDevice
    ) -> Double {
        let gains = shapes.map { shape in
            (shape.entry.shape, shape.search.best.seconds / shape.search.sequential.seconds)
        }
        return replay(tokens) { batch in
            let shape = BatchShape(batch)
            let gain = gains.first { $0.0.contains(shape) }?.1 ?? 1
            return predictor(batch, device).sequentialSeconds * gain
        }
    }

    private func replay(_ tokens: Int, _ duration: (Batch) -> Double) -> Double {
        var limits = task.limits
        limits.batchedTokens = tokens
        let replay = Replay(task.requests, limits: limits, duration: duration)
        return Double(replay.load.tokens) / replay.seconds
    }

    // MARK: - Search

    private func search(_ classes: ShapeClasses, on device: MeasuredDevice) -> [Tuning.Shape] {
        let space = SearchSpace(
            sharings: SearchSpace.Sharing.candidates(unitCount: task.unitCount))
        let entries = classes.entries(count: Self.classCount, share: Self.classShare)
        let predictors = entries.map { predictor($0.batch, device) }
        progress("searching plans for \(entries.count) shapes of batches", 0)
        // The execution units sleep meanwhile.
        let (graph, found) = (graph, Locked([Int: PlanSearch.Result]()))
        DispatchQueue.concurrentPerform(iterations: entries.count) { index in
            let result = PlanSearch.run(
                space, graph, predictors[index], bestMemoryFactor: device.bestMemoryFactor)
            found.withLock { $0[index] = result }
        }
        let results = found.withLock { $0 }
        return entries.indices.compactMap { index in
            results[index].map { result in
                Tuning.Shape(
                    entry: entries[index], timeShare: entries[index].seconds / classes.seconds,
                    search: result, kinds: predictors[index].sequentialKinds,
                    candidates: candidates(result, entries[index].batch, predictors[index]))
            }
        }
    }

    /// The sequential plan, the best for each of the best few ways to share the device, and the one
    /// made by rule.
    ///
    /// What sharing does is known least well; shares and orders make less of a difference.
    private func candidates(
        _ result: PlanSearch.Result, _ batch: Batch, _ predictor: StepPredictor
    ) -> [Tuning.Candidate] {
        let sequential = result.sequential.seconds
        var chosen: [PlanCandidate] = []
        let canGain = result.potential >= Tuning.Shape.leastGain
        for candidate in result.ranked where canGain && chosen.count < Self.finalists {
            guard candidate.numbers != nil, candidate.seconds < Self.hopeless * sequential,
                !chosen.contains(where: { $0.isMuchAs(candidate) })
            else { continue }
            chosen.append(candidate)
        }
        let rule = PipelinePlan.overlapped(graph)
        var predictor = predictor
        if canGain, PlanTable.ShapeClass.enoughToRead.contains(BatchShape(batch)),
            let seconds = predictor.seconds(rule), seconds < Self.hopeless * sequential
        {
            let candidate = PlanCandidate(plan: rule, numbers: PlanNumbers(), seconds: seconds)
            if !chosen.contains(where: { $0.plan == rule }) { chosen.append(candidate) }
        }
        return ([result.sequential] + chosen).map {
            Tuning.Candidate($0.plan, $0.numbers, predictedSeconds: $0.seconds)
        }
    }

    // MARK: - Measurement

    /// Runs the candidates in turns while there is time, and chooses.
    private mutating func measure(_ shapes: inout [Tuning.Shape], reference: Double) {
        let plans = shapes.reduce(0) { $0 + $1.candidates.count }
        rounds: for round in 0..<Self.rounds {
            for shape in shapes.indices {
                for candidate in shapes[shape].contenders(within: Self.hopeless) {
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

extension PlanCandidate {
    /// Whether it shares the device in the same way, or takes the same time exactly, as plans do
    /// whose ways to share never come to bear.
    fileprivate func isMuchAs(_ other: PlanCandidate) -> Bool {
        numbers?.sharing == other.numbers?.sharing || abs(seconds / other.seconds - 1) < 1e-6
    }
}

extension SearchSpace.Sharing {
    /// Rates of co-issue, and parts of the units for what is bound by memory.
    package static func candidates(unitCount: Int) -> [SearchSpace.Sharing] {
        let parts = Set([0.125, 0.25, 0.5].map { ($0 * Double(unitCount)).rounded() }).filter {
            $0 >= 1 && Int($0) < unitCount
        }
        return [0.75, 1, 1.5, 2].map { SearchSpace.Sharing(prefetchRate: $0) }
            + parts.sorted().map { SearchSpace.Sharing(memoryShare: $0 / Double(unitCount)) }
    }
}
