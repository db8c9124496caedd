import NanoFlow
import NanoModel
import NanoSearch
import NanoTestSupport
import Testing

@Suite struct SimulatedDeviceTests {
    /// The batch of the paper's operation table: 2048 tokens, 1.41 million positions that decodes
    /// attend to, 349 thousand that prefill attends to.
    static let tableBatch: Batch = {
        let decodes = (0..<1280).map { Batch.Item.decode(slot: $0, position: 1091) }
        let prefill = Batch.Item.prefill(slot: 1280, positions: 71..<839)
        return Batch(step: 1, items: decodes + [prefill])
    }()

    static let device = SimulatedDevice(
        .a100x8, PublishedShape.llama2With70B.configuration(layerCount: 80))

    static func predictor() -> StepPredictor {
        StepPredictor(
            tableBatch, layerCount: 80, graph: device.graph(layerCount:), on: device)
    }

    @Test func theSequentialStepTakesTheTablesSum() throws {
        var predictor = Self.predictor()
        let plan = PipelinePlan.sequential(Self.device.graph(layerCount: 80))
        let prediction = predictor.seconds(plan)
        let seconds = try #require(prediction)
        let rate = 2048 / seconds / 8
        #expect(abs(rate / 1137.5 - 1) < 0.02, "\(rate)")
    }

    @Test func overlapOnTheTablesBatchGainsWhatThePaperReports() {
        let graph = Self.device.graph(layerCount: 80)
        let result = PlanSearch.run(
            .spatial(hasNetwork: true), graph, Self.predictor())
        let sequential = result.sequential
        let gain = sequential.seconds / result.best.seconds
        print("gain", gain, result.evaluatedCount, result.best.numbers as Any, result.lowerBound, result.best.seconds, sequential.seconds)
        for layers in [3, 5] {
            let graph = Self.device.graph(layerCount: layers)
            var start = ContinuousClock.now
            let layout = BatchLayout(Self.tableBatch, shares: [0.5, 0.5], alignment: 64)
            print("layout", ContinuousClock.now - start); start = .now
            let nano = graph.split(into: NanoBatches(layout, whole: []), blockSize: 64)
            print("split", ContinuousClock.now - start); start = .now
            let arranged = ArrangedPlan(result.best.plan, graph.split(into: NanoBatches(layout, whole: result.best.plan.whole), blockSize: 64), layerCount: layers)!
            print("split and arrange", ContinuousClock.now - start); start = .now
            _ = StepSimulation.run(arranged, on: Self.device)
            print("simulate", ContinuousClock.now - start, nano.operations.count)
        }
        #expect((1.05...1.25).contains(gain), "\(gain)")
    }
}
