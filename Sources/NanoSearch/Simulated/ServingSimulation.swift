import NanoDevice
package import NanoFlow
import NanoModel

/// Requests served by a simulated device: in sequence, in nano-batches, and with plans searched for.
package struct ServingSimulation {
    /// Modes that are compared.
    package enum Mode: String, Sendable, Hashable, CaseIterable, Codable {
        case sequential
        case nanoBatched = "nano_batched"
        case overlapped
    }

    package struct Plan {
        package let shapeClass: ShapeClasses.Entry
        package let result: PlanSearch.Result
    }

    package let replays: [Mode: Replay]
    package let plans: [Plan]
    private let deviceCount: Int
    /// Tokens a second of one device if products ran at the measured peak and all else took no time.
    package let optimumPerDevice: Double

    private static let classCount = 12
    private static let classShare = 0.01

    /// Serves the requests in each mode.
    ///
    /// - Parameters:
    ///   - requests: All arrive at once.
    ///   - device: Serves them.
    ///   - tokenBudget: Tokens in one step, and sequences at most.
    ///   - progress: Told what is being done, and how far it is.
    package init(
        _ requests: [Workload.Request], on device: SimulatedDevice, tokenBudget: Int,
        progress: (String, Double) -> Void
    ) {
        let limits = Self.limits(device, tokenBudget: tokenBudget)
        deviceCount = device.device.count
        let graph = device.graph(layerCount: device.model.layerCount)
        let tokens = requests.reduce(0) { $0 + ($1.prompt.tokenCount ?? 0) + $1.outputLength }
        var classes = ShapeClasses()
        func replay(_ mode: Mode, _ plan: (Batch) -> PipelinePlan?) -> Replay {
            var done = 0
            return Replay(requests, limits: limits) { batch in
                done += batch.tokenCount
                progress(mode.rawValue, min(1, Double(done) / Double(tokens)))
                var predictor = StepPredictor(
                    batch, layerCount: device.model.layerCount, graph: device.graph(layerCount:),
                    on: device)
                let planned = plan(batch).flatMap { predictor.seconds($0) }
                guard let seconds = planned ?? predictor.seconds(.sequential(graph)) else {
                    preconditionFailure("The model's own order must respect all dependencies.")
                }
                if mode == .sequential { classes.add(batch, seconds: seconds) }
                return seconds
            }
        }
        var replays: [Mode: Replay] = [:]
        replays[.sequential] = replay(.sequential) { _ in nil }
        let halves = PipelinePlan.nanoBatched(graph)
        replays[.nanoBatched] = replay(.nanoBatched) { _ in halves }
        let entries = classes.entries(count: Self.classCount, share: Self.classShare)
        plans = entries.enumerated().map { index, entry in
            progress("search", Double(index) / Double(entries.count))
            let predictor = StepPredictor(
                entry.batch, layerCount: device.model.layerCount,
                graph: device.graph(layerCount:), on: device)
            let space = SearchSpace.spatial(hasNetwork: device.device.count > 1)
            return Plan(shapeClass: entry, result: PlanSearch.run(space, graph, predictor))
        }
        let table = PlanTable(
            entries: plans.map {
                PlanTable.Entry(shape: $0.shapeClass.shape, plan: $0.result.best.plan)
            })
        replays[.overlapped] = replay(.overlapped) { table.plan(for: BatchShape($0)) }
        self.replays = replays
        let load = replays[.sequential]?.load ?? TokenLoad()
        let peak = device.device.peak * device.device.measuredPeakRatio
        optimumPerDevice = Optimum(load, ModelWork(device.model), peak: peak).tokensPerSecond
    }

    private static func limits(_ device: SimulatedDevice, tokenBudget: Int) -> Scheduler.Limits {
        Scheduler.Limits(
            sequences: tokenBudget, batchedTokens: tokenBudget, logitRows: tokenBudget,
            blockSize: KVArena.blockSize,
            blockCount: device.cachedTokenCount / KVArena.blockSize,
            sequenceLength: device.model.contextLength)
    }

    /// Prompt and completion tokens a second of one device.
    package func rate(_ mode: Mode) -> Double {
        guard let replay = replays[mode] else { return 0 }
        return Double(replay.load.tokens) / replay.seconds / Double(deviceCount)
    }
}
