import Foundation
import NanoFlow
import NanoTestSupport
import Testing

@Suite struct PipelinePlanTests {
    static let graph = OperationGraph.decoder(layerCount: 4)

    @Test func aModelOfOneLayerHasAnOverlappedPlan() {
        let graph = OperationGraph.decoder(layerCount: 1)
        #expect(PipelinePlan.overlapped(graph).fault(for: graph) == nil)
    }

    static var generated: [PipelinePlan] {
        var thirds = PlanNumbers()
        thirds.shares = [0.3, 0.3, 0.4]
        return [
            .sequential(graph), .nanoBatched(graph), .overlapped(graph),
            .overlapped(graph, thirds), .nanoBatched(graph, thirds),
        ]
    }

    @Test func generatedPlansHaveNoFault() {
        for plan in Self.generated { #expect(plan.fault(for: Self.graph) == nil) }
    }

    @Test func aNanoBatchRunsFromOneAttentionToTheNextBesideTheOthers() {
        let plan = PipelinePlan.overlapped(Self.graph)
        let half = [
            "prefillAttention", "attentionQuantization", "outputProjection", "feedForwardNorm",
            "gateUpProjection", "activation", "downProjection",
        ]
        let next = ["attentionNorm", "qkvProjection", "ropeAppend"]
        #expect(
            plan.lanes[0].layer.map(\.text)
                == half.map { $0 + ".0-1" } + next.map { $0 + ".0" } + half.map { $0 + ".1-1" }
                + next.map { $0 + ".1" })
        #expect(plan.lanes[1].layer.map(\.text) == ["decodeAttention.0", "decodeAttention.1"])
        #expect(plan.lanes[0].after.map(\.text) == ["finalNorm.0", "lmHead.0", "sampling.0"])
    }

    @Test(arguments: 0..<60)
    func generatedPlansRunOnEveryBatch(seed: Int) {
        var random = SeededGenerator(seed: UInt64(seed))
        let batch = Batch.random(using: &random)
        for plan in Self.generated {
            let layout = BatchLayout(batch, shares: plan.nanoBatches, alignment: 1)
            let nanoGraph = Self.graph.split(
                into: NanoBatches(layout, whole: plan.whole), blockSize: 4)
            let arranged = ArrangedPlan(plan, nanoGraph, layerCount: 4)
            #expect(arranged != nil, "seed \(seed)")
            #expect(
                arranged?.lanes.flatMap { $0 }.sorted() == Array(nanoGraph.operations.indices))
        }
    }

    /// What a planner keeps of the step before shows nowhere.
    @Test(arguments: 0..<30)
    func plansDoNotDependOnTheStepsBefore(seed: Int) {
        var random = SeededGenerator(seed: UInt64(seed))
        for mode in PipelineMode.allCases {
            let new = StepPlanner(Self.graph, table: PlanTable(Self.generated[3]), mode: mode)
            var used = new
            for _ in 0..<12 {
                let logits: [Batch.Logits] = [.last, .last, .last, .none, .all]
                let decodes = (0..<Int.random(in: 2...4, using: &random)).map { slot in
                    let position = Int.random(in: 0...90, using: &random)
                    return Batch.Item(
                        sequence: slot, slot: slot, positions: position..<position + 1,
                        logits: logits[Int.random(in: 0..<5, using: &random)], firstNewBlock: 0,
                        newBlocks: [])
                }
                let batch =
                    Int.random(in: 0..<4, using: &random) == 0
                    ? Batch.random(using: &random) : Batch(step: 1, items: decodes)
                var fresh = new
                let (plan, expected) = (used.plan(batch), fresh.plan(batch))
                #expect(plan.graph == expected.graph, "seed \(seed)")
                #expect(plan.lanes == expected.lanes && plan.plan == expected.plan)
            }
        }
    }

    @Test func ordersThatComeToAStandstillAreFound() {
        let batch = Batch(step: 1, items: [.decode(slot: 0, position: 3)])
        let layout = BatchLayout(batch, shares: [1], alignment: 1)
        let nanoGraph = Self.graph.split(into: NanoBatches(layout), blockSize: 4)
        let plan = PipelinePlan.sequential(Self.graph)
        let order = Array(nanoGraph.operations.indices)
        #expect(ArrangedPlan(plan, nanoGraph, lanes: [order]) != nil)
        #expect(ArrangedPlan(plan, nanoGraph, lanes: [order.reversed()]) == nil)
        // Each lane waits for the other.
        let (first, second) = (order[0], order[1])
        let rest = Array(order.dropFirst(2))
        #expect(
            ArrangedPlan(plan, nanoGraph, lanes: [[second], [rest[0], first] + rest.dropFirst()])
                == nil)
    }

    @Test func aPlanIsTheSameAfterWritingAndReading() throws {
        for plan in Self.generated {
            let data = try JSONEncoder().encode(plan)
            #expect(try JSONDecoder().decode(PipelinePlan.self, from: data) == plan)
        }
    }

    @Test(arguments: [
        "gateUpProjection", "gateUpProjection.", "gateUpProjection.x", "gateUp.0",
        "gateUpProjection.0-", "gateUpProjection.0-0", "gateUpProjection.0-x",
        "gateUpProjection.-1", "gateUpProjection.0+1", "a.b.c", "",
    ])
    func placesThatNameNothingAreRefused(text: String) {
        #expect(PipelinePlan.Place(text: text) == nil)
    }

    @Test func faultsAreNamed() {
        var plans: [(PipelinePlan, String)] = []
        func add(_ expected: String, _ change: (inout PipelinePlan) -> Void) {
            var plan = PipelinePlan.overlapped(Self.graph)
            change(&plan)
            plans.append((plan, expected))
        }
        add("0 nano-batches") { $0.nanoBatches = [] }
        add("shares of its nano-batches") { $0.nanoBatches = [0.5, 0.6] }
        add("shares of its nano-batches") { $0.nanoBatches = [1.5, -0.5] }
        add("shares of its units") { $0.units[0].share = 0.5 }
        add("twice among those that are whole") { $0.whole.append(.lmHead) }
        add("0 lanes") { $0.lanes = [] }
        add("one name") { $0.lanes[1].name = "compute" }
        add("65 shares of units") {
            $0.units = Array(repeating: .init(share: 1 / 65, lanes: ["compute"]), count: 65)
        }
        add("no lane \"disk\"") { $0.units[0].lanes.append("disk") }
        add("each once") { $0.units[0].lanes = ["compute", "memory", "compute"] }
        add("prefetch_rate must be") { $0.units[0].prefetchRate = .nan }
        add("window_bytes") { $0.units[0].windowByteCount = -1 }
        add("decodeAttention.1 is missing in \"layer\"") { $0.lanes[1].layer.removeLast() }
        add("embedding.0 in \"before\" is there twice") {
            $0.lanes[1].before.append(.init(.embedding, 0))
        }
        add("activation.2 in \"layer\" is there twice, or does not belong") {
            $0.lanes[1].layer.append(.init(.activation, 2))
        }
        add("lmHead.0-1 in \"after\" has no layer before it") {
            $0.lanes[0].after[1].layerOffset = -1
        }
        add("reaches back further") { $0.lanes[0].layer[0].layerOffset = -5 }
        for (plan, expected) in plans {
            let fault = plan.fault(for: Self.graph)
            #expect(fault?.contains(expected) == true, "\(fault ?? "none"), not \(expected)")
        }
    }

    @Test func theFirstClassThatAShapeBelongsToCounts() {
        var decodes = PlanTable.ShapeClass()
        decodes.minDecodeTokens = 4
        decodes.maxPrefillTokens = 10
        var long = PlanTable.ShapeClass()
        long.minMeanContext = 100
        let table = PlanTable(entries: [
            PlanTable.Entry(shape: decodes, plan: .overlapped(Self.graph)),
            PlanTable.Entry(shape: long, plan: .nanoBatched(Self.graph)),
        ])
        func plan(_ items: [Batch.Item]) -> PipelinePlan? {
            table.plan(for: BatchShape(Batch(step: 1, items: items)))
        }
        let four = (0..<4).map { Batch.Item.decode(slot: $0, position: 200) }
        #expect(plan(four) == .overlapped(Self.graph))
        #expect(plan(four + [.prefill(slot: 4, positions: 0..<10)]) == .overlapped(Self.graph))
        #expect(plan(four + [.prefill(slot: 4, positions: 0..<11)]) == .nanoBatched(Self.graph))
        #expect(plan([.prefill(slot: 4, positions: 0..<300)]) == nil)
    }
}
