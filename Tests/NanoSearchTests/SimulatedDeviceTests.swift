import NanoFlow
import NanoModel
import NanoSearch
import NanoTestSupport
import Testing

/// LLaMA-2-70B on eight A100: the paper's operation table (Zhu et al., NanoFlow, 2024).
@Suite struct SimulatedDeviceTests {
    /// The table's batch: 2048 tokens, 1.40 million positions that decodes attend to, 349 thousand
    /// that prefill attends to.
    static let tableBatch: Batch = {
        let decodes = (0..<1280).map { Batch.Item.decode(slot: $0, position: 1091) }
        let prefill = Batch.Item.prefill(slot: 1280, positions: 71..<839)
        return Batch(step: 1, items: decodes + [prefill])
    }()

    static let device = SimulatedDevice(
        .a100x8, PublishedShape.llama2With70B.configuration(layerCount: 80))

    static var predictor: StepPredictor {
        StepPredictor(
            tableBatch, layerCount: 80, graph: device.graph(layerCount:), on: device)
    }

    @Test func theSequentialStepTakesTheTablesSum() throws {
        var predictor = Self.predictor
        let prediction = predictor.seconds(.sequential(Self.device.graph(layerCount: 80)))
        let rate = try 2048 / #require(prediction) / 8
        #expect(abs(rate / 1137 - 1) < 0.02, "\(rate)")
    }

    @Test func overlapGainsWhatThePaperReports() {
        let result = PlanSearch.run(
            .spatial(hasNetwork: true), Self.device.graph(layerCount: 80), Self.predictor)
        let gain = result.sequential.seconds / result.best.seconds
        #expect((1.05...1.25).contains(gain), "\(gain)")
        #expect(result.best.seconds >= result.lowerBound)
    }

    @Test func aStepInSequenceTakesTheSumOfItsOperations() throws {
        let graph = Self.device.graph(layerCount: 4)
        let layout = BatchLayout(Self.tableBatch, shares: [1], alignment: 64)
        let nanoGraph = graph.split(into: NanoBatches(layout), blockSize: 64)
        let arranged = try #require(
            ArrangedPlan(.sequential(graph), nanoGraph, layerCount: 4))
        let step = StepSimulation.run(arranged, on: Self.device)
        let sum = nanoGraph.operations.reduce(0) {
            $0 + Self.device.seconds(of: $1, in: layout)
        }
        #expect(abs(step.seconds / sum - 1) < 1e-9)
        #expect(step.events.map(\.operation) == Array(nanoGraph.operations.indices))
    }

    @Test func fewLayersPredictMany() throws {
        let graph = Self.device.graph(layerCount: 12)
        let plan = PipelinePlan.overlapped(graph, .halvesSharingMemory)
        var predictor = StepPredictor(
            Self.tableBatch, layerCount: 12, graph: Self.device.graph(layerCount:),
            on: Self.device)
        let prediction = predictor.seconds(plan)
        let layout = BatchLayout(Self.tableBatch, shares: plan.nanoBatches, alignment: 64)
        let nanoGraph = graph.split(
            into: NanoBatches(layout, whole: plan.whole), blockSize: 64)
        let arranged = try #require(ArrangedPlan(plan, nanoGraph, layerCount: 12))
        let all = StepSimulation.run(arranged, on: Self.device).seconds
        #expect(try abs(#require(prediction) / all - 1) < 0.01)
    }

    // MARK: - Requests

    @Test(arguments: [
        (WorkloadLengths.shareGPT, 298.8, 323.7), (.lmsys, 92.2, 207.4),
        (.splitwise, 1154.7, 211.1), (.constant512And1024, 512, 1024),
    ])
    func lengthsHaveTheTracesMeans(
        lengths: WorkloadLengths, prompt: Double, completion: Double
    ) {
        let requests = lengths.requests(count: 200_000, seed: 1, maxLength: 1 << 20)
        let prompts = requests.reduce(0) { $0 + ($1.prompt.tokenCount ?? 0) }
        let completions = requests.reduce(0) { $0 + $1.outputLength }
        #expect(abs(Double(prompts) / 200_000 / prompt - 1) < 0.02)
        #expect(abs(Double(completions) / 200_000 / completion - 1) < 0.02)
    }

    @Test func aSimulationIsTheSameEachTimeAndServesAllRequests() {
        let requests = WorkloadLengths.shareGPT.requests(count: 60, seed: 3, maxLength: 96)
        let runs = (0..<2).map { _ in
            ServingSimulation(requests, on: Self.device, tokenBudget: 128) { _, _ in }
        }
        for mode in ServingSimulation.Mode.allCases {
            #expect(runs[0].replays[mode]?.steps == runs[1].replays[mode]?.steps)
            #expect(runs[0].replays[mode]?.normalizedLatencies.count == 60)
            #expect(
                runs[0].replays[mode]?.load.completionTokens
                    == requests.reduce(0) { $0 + $1.outputLength })
        }
    }

    @Test(arguments: DescribedDevice.all.map(\.name))
    func everyDeviceIsNoFasterThanItsOptimum(name: String) throws {
        let described = try #require(DescribedDevice.all.first { $0.name == name })
        let device = SimulatedDevice(
            described, PublishedShape.llama3With8B.configuration(layerCount: 32))
        let request = Workload.Request(prompt: .random(count: 200), outputLength: 12)
        let simulation = ServingSimulation(
            [Workload.Request](repeating: request, count: 20), on: device, tokenBudget: 256
        ) { _, _ in }
        for mode in ServingSimulation.Mode.allCases {
            let rate = simulation.rate(mode)
            #expect(rate > 0 && rate < simulation.optimumPerDevice)
        }
    }
}

extension PlanNumbers {
    static var halvesSharingMemory: PlanNumbers {
        var numbers = PlanNumbers()
        numbers.memoryShare = 0.4
        numbers.networkShare = 0.1
        return numbers
    }
}
