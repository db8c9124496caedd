import Dispatch
import NanoDevice
import NanoFlow

/// Predicts a workload's steps on a measured device, and searches plans for them.
struct WorkloadPlanning {
    private let task: TuningTask
    private let device: MeasuredDevice
    private let progress: (String, Double) -> Void
    private let requests: [Workload.Request]

    /// Classes of batches at most, and what each must take of the workload's time.
    private static let classCount = 8
    private static let classShare = 0.02
    /// Plans of a class that are run, beside the sequential one and the generated one.
    private static let finalists = 3
    /// Of several numbers of tokens in a step the largest is taken that is this close to the fastest: a
    /// larger batch reads the weights less often, whatever noise says.
    private static let closeEnough = 0.98
    /// Requests that are replayed at most, and steps' worth of tokens.
    private static let replayed = (requests: 1024, steps: 4000)

    init(
        _ task: TuningTask, _ device: MeasuredDevice,
        _ progress: @escaping (String, Double) -> Void
    ) {
        (self.task, self.device, self.progress) = (task, device, progress)
        requests = Self.sample(task.requests, limit: task.limits.batchedTokens)
    }

    /// As many requests as can be replayed in seconds, spread over all.
    private static func sample(
        _ requests: [Workload.Request], limit: Int
    ) -> [Workload.Request] {
        let tokens = requests.reduce(0) { $0 + ($1.prompt.tokenCount ?? 0) + $1.outputLength }
        let byTokens = requests.count * replayed.steps * limit / max(1, tokens)
        let count = min(requests.count, replayed.requests, max(1, byTokens))
        return (0..<count).map { requests[$0 * requests.count / count] }
    }

    /// Plans for the classes of batches that take most time, with the best number of tokens in a step.
    func plans() -> (
        tokenBudgets: (rates: [Tuning.TokenBudget], chosen: Int), shapes: [Tuning.Shape]
    ) {
        let limit = task.limits.batchedTokens
        let tokens = Set([limit / 4, limit / 2, limit * 3 / 4, limit].map { max(1, $0) }).sorted()
        var budgets = tokens.enumerated().map { index, count in
            progress("replaying the workload", Double(index) / Double(tokens.count))
            let rate = replay(count) { predictor($0).sequentialSeconds }
            return Tuning.TokenBudget(tokens: count, sequential: rate, tuned: rate)
        }
        var best = Self.choice(budgets.map(\.sequential))
        var shapes = search(budgets[best].tokens)
        progress("replaying the workload with the plans found", 0)
        for index in budgets.indices {
            budgets[index].tuned = rate(budgets[index].tokens, shapes)
        }
        let wanted = Self.choice(budgets.map(\.tuned))
        if wanted != best {
            best = wanted
            shapes = search(budgets[best].tokens)
            budgets[best].tuned = rate(budgets[best].tokens, shapes)
        }
        return ((budgets, budgets[best].tokens), shapes)
    }

    /// Of rates in the order of their tokens in a step.
    private static func choice(_ rates: [Double]) -> Int {
        let fastest = rates.max() ?? 0
        return rates.lastIndex { $0 >= closeEnough * fastest } ?? 0
    }

    // MARK: - Prediction

    private func predictor(_ batch: Batch) -> StepPredictor {
        StepPredictor(
            batch, layerCount: task.layerCount, graph: { .decoder(layerCount: $0) }, on: device)
    }

    /// Tokens a second of the workload with the best plans of each class.
    private func rate(_ tokens: Int, _ shapes: [Tuning.Shape]) -> Double {
        let gains = shapes.map { shape in
            (shape.entry.shape, shape.search.best.seconds / shape.search.sequential.seconds)
        }
        return replay(tokens) { batch in
            let shape = BatchShape(batch)
            let gain = gains.first { $0.0.contains(shape) }?.1 ?? 1
            return predictor(batch).sequentialSeconds * gain
        }
    }

    private func replay(_ tokens: Int, _ duration: (Batch) -> Double) -> Double {
        var limits = task.limits
        limits.batchedTokens = tokens
        let replay = Replay(requests, limits: limits, duration: duration)
        return Double(replay.load.tokens) / replay.seconds
    }

    // MARK: - Search

    private func search(_ tokens: Int) -> [Tuning.Shape] {
        var classes = ShapeClasses()
        _ = replay(tokens) { batch in
            let seconds = predictor(batch).sequentialSeconds
            classes.add(batch, seconds: seconds)
            return seconds
        }
        let space = SearchSpace(sharings: task.sharings)
        let entries = classes.entries(count: Self.classCount, share: Self.classShare)
        let predictors = entries.map { predictor($0.batch) }
        progress("searching plans for \(entries.count) shapes of batches", 0)
        // The execution units sleep meanwhile.
        let (graph, device) = (task.graph, device)
        let found = Locked([Int: PlanSearch.Result]())
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

    /// The sequential plan, the best for each of the best few ways to share the device, and the
    /// generated one; the first alone where no plan of any kind can gain enough.
    ///
    /// What sharing does is known least well; shares and orders make less of a difference.
    private func candidates(
        _ result: PlanSearch.Result, _ batch: Batch, _ predictor: StepPredictor
    ) -> [Tuning.Candidate] {
        var chosen: [PlanCandidate] = []
        if result.potential >= Tuning.Shape.leastGain {
            let hopeful = result.ranked.filter {
                $0.numbers != nil
                    && $0.seconds < Tuning.Shape.hopeless * result.sequential.seconds
            }
            for candidate in hopeful where chosen.count < Self.finalists {
                if !chosen.contains(where: { $0.isMuchAs(candidate) }) { chosen.append(candidate) }
            }
            chosen += generated(batch, predictor, result, besides: chosen)
        }
        return ([result.sequential] + chosen).map {
            Tuning.Candidate($0.plan, $0.numbers, predictedSeconds: $0.seconds)
        }
    }

    private func generated(
        _ batch: Batch, _ predictor: StepPredictor, _ result: PlanSearch.Result,
        besides chosen: [PlanCandidate]
    ) -> [PlanCandidate] {
        let plan = PipelinePlan.overlapped(task.graph)
        var predictor = predictor
        guard PlanTable.ShapeClass.enoughToRead.contains(BatchShape(batch)),
            let seconds = predictor.seconds(plan),
            seconds < Tuning.Shape.hopeless * result.sequential.seconds,
            !chosen.contains(where: { $0.plan == plan })
        else { return [] }
        return [PlanCandidate(plan: plan, numbers: PlanNumbers(), seconds: seconds)]
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
