import NanoFlow
import NanoSearch
import NanoTestSupport
import Testing

/// The search on devices made up by a seed, against all plans of its space.
@Suite struct PlanSearchTests {
    static let layerCount = 6

    static func graph(_ layerCount: Int, hasNetwork: Bool) -> OperationGraph {
        hasNetwork
            ? .tensorParallelDecoder(layerCount: layerCount) : .decoder(layerCount: layerCount)
    }

    static func predictor(_ device: MadeUpDevice, hasNetwork: Bool) -> StepPredictor {
        let decodes = (0..<96).map { Batch.Item.decode(slot: $0, position: 300 + 7 * $0) }
        let prefill = Batch.Item.prefill(slot: 96, positions: 64..<192)
        return StepPredictor(
            Batch(step: 1, items: decodes + [prefill]), layerCount: layerCount,
            graph: { graph($0, hasNetwork: hasNetwork) }, on: device)
    }

    /// Every plan of the space.
    static func bruteForce(
        _ space: SearchSpace, _ graph: OperationGraph, _ predictor: StepPredictor
    ) -> Double {
        var predictor = predictor
        var best = predictor.seconds(.sequential(graph)) ?? .infinity
        let segments = PipelinePlan.segments(of: graph).count
        for count in space.nanoBatchCounts {
            for order in SearchSpace.orders(nanoBatchCount: count, segmentCount: segments) {
                for shares in space.shares(nanoBatchCount: count) {
                    for sharing in space.sharings {
                        let plan = PipelinePlan.overlapped(
                            graph, PlanNumbers(shares, order, sharing))
                        best = min(best, predictor.seconds(plan) ?? .infinity)
                    }
                }
            }
        }
        return best
    }

    @Test(arguments: 0..<3, [false, true])
    func theSearchFindsTheBestOfItsSpace(seed: Int, hasNetwork: Bool) {
        let device = MadeUpDevice(seed: UInt64(seed))
        let graph = Self.graph(Self.layerCount, hasNetwork: hasNetwork)
        var space = SearchSpace.spatial(hasNetwork: hasNetwork)
        space.nanoBatchCounts = [2]
        let predictor = Self.predictor(device, hasNetwork: hasNetwork)
        let result = PlanSearch.run(space, graph, predictor)
        let best = Self.bruteForce(space, graph, predictor)
        #expect(result.best.seconds <= 1.01 * best, "seed \(seed)")
        #expect(result.best.seconds >= 0.999 * result.lowerBound, "seed \(seed)")
    }

    @Test func coIssueIsChosenWhereItHelpsMost() {
        var device = MadeUpDevice(seed: 1)
        device.coIssued = CoIssue(product: 1, memory: 0.1)
        let spatial = SearchSpace.Sharing(memoryShare: 0.5)
        var space = SearchSpace(
            sharings: [0.5, 1, 2].map { .init(prefetchRate: $0) } + [spatial])
        space.nanoBatchCounts = [2]
        let graph = Self.graph(Self.layerCount, hasNetwork: false)
        let result = PlanSearch.run(
            space, graph, Self.predictor(device, hasNetwork: false), bestMemoryFactor: 0.1)
        #expect(result.isExhaustive)
        #expect((result.best.numbers?.prefetchRate ?? 0) > 0)
        #expect(result.best.seconds < result.sequential.seconds)
    }

    @Test func dearOperationsAreNotCut() {
        var device = MadeUpDevice(seed: 2)
        device.fixedSeconds = 1
        let graph = Self.graph(Self.layerCount, hasNetwork: false)
        let result = PlanSearch.run(
            .spatial(hasNetwork: false), graph, Self.predictor(device, hasNetwork: false))
        #expect(result.best.numbers == nil)
        #expect(result.best.plan == .sequential(graph))
    }

    /// Memory that loses nothing beside products, at any share: all but the first and last layer's
    /// reading is hidden.
    @Test func freeOverlapHidesTheSmallerResource() {
        var device = MadeUpDevice(seed: 3)
        device.fixedSeconds = 0
        device.performance = [Double](repeating: 1, count: 9)
        device.isComputeFree = true
        let graph = Self.graph(Self.layerCount, hasNetwork: false)
        let result = PlanSearch.run(
            .spatial(hasNetwork: false), graph, Self.predictor(device, hasNetwork: false))
        #expect(result.gap < 0.25, "\(result.gap)")
    }

    @Test(arguments: [2, 3])
    func ordersRunWhereAChunkIsCut(nanoBatchCount: Int) {
        for hasNetwork in [false, true] {
            let graph = Self.graph(3, hasNetwork: hasNetwork)
            let chunk = Batch.Item.prefill(slot: 0, positions: 0..<384)
            let batch = Batch(step: 1, items: [chunk, .decode(slot: 1, position: 70)])
            let shares = [Double](
                repeating: 1 / Double(nanoBatchCount), count: nanoBatchCount)
            let layout = BatchLayout(batch, shares: shares, alignment: 64)
            #expect(layout.nanoBatchCount == nanoBatchCount)
            let segments = PipelinePlan.segments(of: graph).count
            var runCount = 0
            let orders = SearchSpace.orders(
                nanoBatchCount: nanoBatchCount, segmentCount: segments)
            for order in orders {
                let plan = PipelinePlan.overlapped(
                    graph, PlanNumbers(shares, order, .init(memoryShare: 0.4, networkShare: 0.1)))
                #expect(plan.fault(for: graph) == nil)
                let nanoGraph = graph.split(
                    into: NanoBatches(layout, whole: plan.whole), blockSize: 64)
                if ArrangedPlan(plan, nanoGraph, layerCount: 3) != nil { runCount += 1 }
            }
            #expect(runCount == orders.count && runCount > 0, "\(runCount) of \(orders.count)")
        }
    }
}

/// Times and interference drawn by a seed.
struct MadeUpDevice: DeviceModel {
    var perRow: [NanoFlow.Operation.Kind: Double] = [:]
    var fixedSeconds: Double
    /// P(R) at tenths, rising.
    var performance: [Double]
    /// Whether products lose nothing either.
    var isComputeFree = false
    var coIssued = CoIssue(product: 1, memory: 1)
    let handoverSeconds = 0.0

    init(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for kind in NanoFlow.Operation.Kind.allCases {
            let largest = kind.isProduct || kind.resource != .compute ? 1e-5 : 1e-6
            perRow[kind] = Double.random(in: 0.1...1, using: &random) * largest
        }
        fixedSeconds = Double.random(in: 0...1e-5, using: &random)
        let bend = Double.random(in: 0.2...1, using: &random)
        performance = (1...9).map { r in
            let share = Double(r) / 10
            return share / (share + bend * (1 - share))
        }
    }

    func seconds(of operation: NanoOperation, in layout: BatchLayout) -> Double {
        let rows =
            operation.kind.isOnLogitRows ? operation.logitRows.count : operation.rows.count
        return Double(rows) * (perRow[operation.kind] ?? 0) + fixedSeconds
    }

    func speed(of resource: ResourceClass, share: Double) -> Double {
        if resource == .compute { return isComputeFree ? 1 : share }
        return performance[min(9, max(1, Int((share * 10).rounded()))) - 1]
    }

    func coIssue(rate: Double, reading: Double) -> CoIssue { coIssued }
}
