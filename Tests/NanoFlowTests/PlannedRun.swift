import Foundation
import NanoDevice
import NanoFlow
import NanoModel
import NanoTestSupport

/// A model without an engine: runs sequences to their ends, each step as somebody plans it.
final class PlannedRun {
    private let loaded: LoadedModel
    private let settings: EngineSettings
    let graph: OperationGraph

    /// What a sequence has come to: tokens with the bits of their log-probabilities, drawn or scored.
    typealias Answer = [UInt64]

    /// Random weights with a feed-forward so wide that tiles of gate-up round their results; the last
    /// tile has 80 of 128.
    static func wide() throws -> ModelSource {
        var model = try ModelSource(Fixture.engine("tiny-llama.gguf").path).model
        model.feedForwardSize = 1104
        return ModelSource(model, RandomTensors(seed: 5, hasQKVBias: false), seed: 5)
    }

    init(_ configuration: EngineConfiguration, of model: ModelSource? = nil) throws {
        let source = try model ?? ModelSource(Fixture.engine("tiny-llama.gguf").path)
        let machine = Machine.current()
        let kernels = Kernels(configuration.instructionSet ?? .best)
        settings = try EngineSettings(configuration, source: source, machine: machine)
        graph = .decoder(layerCount: source.model.layerCount)
        loaded = try LoadedModel(
            source, settings: settings, machine: machine, kernels: kernels,
            progress: { _, _ in })
    }

    deinit { loaded.stop() }

    func answers(
        _ prompts: [[Int]], maxTokens: Int, scored: Set<Int> = [],
        plan: (Batch, OperationGraph) -> ArrangedPlan
    ) -> [Answer] {
        var scheduler = Scheduler(settings.limits)
        for (id, prompt) in prompts.enumerated() {
            scheduler.add(
                id, promptCount: prompt.count, maxTokens: scored.contains(id) ? 0 : maxTokens,
                scoresPrompt: scored.contains(id))
        }
        var answers = [Answer](repeating: [], count: prompts.count)
        var begun: Set<Int> = []
        while let batch = scheduler.schedule() {
            for item in batch.items where begun.insert(item.sequence).inserted {
                begin(prompts[item.sequence], item)
            }
            let step = loaded.pipeline.launch(batch, plan(batch, graph))
            loaded.pipeline.wait(for: step)
            scheduler.complete(step: batch.step)
            for (index, item) in batch.items.enumerated() {
                let rows = item.logits == .all ? item.positions.count : item.logits == .last ? 1 : 0
                for row in 0..<rows {
                    // Of the last position of a scored prompt nothing is known.
                    let position = item.positions.lowerBound + row
                    if item.logits == .all, position + 1 == prompts[item.sequence].count {
                        continue
                    }
                    let (result, _) = loaded.pipeline.result(of: step, item: index, row: row)
                    answers[item.sequence].append(
                        UInt64(UInt32(bitPattern: result.token)) << 32
                            | UInt64(result.logprob.bitPattern))
                }
                if answers[item.sequence].count == (item.logits == .all ? .max : maxTokens) {
                    scheduler.end(item.sequence)
                }
            }
        }
        return answers
    }

    private func begin(_ prompt: [Int], _ item: Batch.Item) {
        loaded.pipeline.tables.begin(
            slot: item.slot, prompt: prompt.map(Int32.init),
            sampling: SlotSampling(
                SamplingParameters(temperature: 0.8, logprobCount: 1), seed: UInt64(item.sequence),
                promptCount: prompt.count))
    }
}

extension ArrangedPlan {
    static func sequential(_ batch: Batch, _ graph: OperationGraph) -> ArrangedPlan {
        var planner = StepPlanner(graph, table: nil, mode: .sequential)
        return planner.plan(batch)
    }

    /// Any cuts, any order that the dependencies allow, in any lanes, on any units.
    static func random(
        _ batch: Batch, _ graph: OperationGraph, using random: inout SeededGenerator
    ) -> ArrangedPlan? {
        let nanoGraph = graph.split(
            into: .random(batch, using: &random), blockSize: KVArena.blockSize)
        let laneCount = Int.random(in: 1...UnitRole.maxLaneCount, using: &random)
        var lanes = [[Int]](repeating: [], count: laneCount)
        for operation in nanoGraph.randomOrder(using: &random) {
            lanes[Int.random(in: 0..<laneCount, using: &random)].append(operation)
        }
        let names = (0..<laneCount).map { "lane \($0)" }
        let shares = [Double].shares(count: Int.random(in: 1...3, using: &random), using: &random)
        let plan = PipelinePlan(
            nanoBatches: [1], lanes: names.map { PipelinePlan.Lane(name: $0, layer: []) },
            units: shares.map {
                PipelinePlan.Share(
                    share: $0,
                    lanes: Array(
                        names.shuffled(using: &random).prefix(max(2, laneCount - 1))),
                    prefetchRate: laneCount > 1 ? Double.random(in: 0...3, using: &random) : 0,
                    windowByteCount: Int.random(in: 0...100_000, using: &random))
            })
        return ArrangedPlan(plan, nanoGraph, lanes: lanes)
    }
}

extension NanoGraph {
    /// An order of all operations, each behind its dependencies.
    func randomOrder(using random: inout SeededGenerator) -> [Int] {
        order { Int.random(in: 0..<$0.count, using: &random) }
    }

    /// The order in which `choose` picks one of those that may come next.
    func order(choosing choose: ([Int]) -> Int) -> [Int] {
        var missing = operations.map(\.dependencies.count)
        var followers = [[Int]](repeating: [], count: operations.count)
        for (index, operation) in operations.enumerated() {
            for dependency in operation.dependencies { followers[dependency].append(index) }
        }
        var ready = missing.indices.filter { missing[$0] == 0 }
        var order: [Int] = []
        while !ready.isEmpty {
            let next = ready.remove(at: choose(ready))
            order.append(next)
            for follower in followers[next] {
                missing[follower] -= 1
                if missing[follower] == 0 { ready.append(follower) }
            }
        }
        return order
    }
}
