import NanoDevice
import NanoFlow
import NanoTestSupport
import Testing

/// Whatever the plan, the bits are those of the sequential one.
@Suite struct PipelineTests {
    private static let configurations = [
        EngineConfiguration(precision: .f32),
        EngineConfiguration(precision: .bf16),
        EngineConfiguration(precision: .int8, groupSize: 32),
    ]

    private static func configuration(
        _ base: EngineConfiguration, threads: Int, tokens: Int
    ) -> EngineConfiguration {
        var configuration = base
        configuration.threadCount = threads
        configuration.maxBatchedTokens = tokens
        configuration.maxSequences = 8
        return configuration
    }

    private static let prompts: [[Int]] = {
        var random = SeededGenerator(seed: 21)
        return [1, 90, 3, 40, 17, 150, 2, 64].map { count in
            (0..<count).map { _ in Int.random(in: 0..<256, using: &random) }
        }
    }()

    @Test(arguments: configurations, [1, 2, 5])
    func anyPlanGivesTheSameBits(base: EngineConfiguration, threads: Int) throws {
        let tokens = 48
        let reference = try PlannedRun(
            Self.configuration(base, threads: 1, tokens: tokens))
        let expected = reference.answers(
            Self.prompts, maxTokens: 12, scored: [1, 4], plan: ArrangedPlan.sequential)
        #expect(expected[1].count == 89 && expected[5].count == 12)
        let varied = try PlannedRun(Self.configuration(base, threads: threads, tokens: tokens))
        expectRandomPlans(6, of: varied, toAnswer: expected)
    }

    /// Five units have too few tiles of gate-up to let them round what they make.
    @Test(arguments: [32, 64], [2, 5])
    func anyPlanOfAWideFeedForwardGivesTheSameBits(groupSize: Int, threads: Int) throws {
        let base = EngineConfiguration(precision: .int8, groupSize: groupSize)
        let reference = try PlannedRun(
            Self.configuration(base, threads: 1, tokens: 48), of: PlannedRun.wide())
        let expected = reference.answers(
            Self.prompts, maxTokens: 12, scored: [1, 4], plan: ArrangedPlan.sequential)
        let varied = try PlannedRun(
            Self.configuration(base, threads: threads, tokens: 48), of: PlannedRun.wide())
        expectRandomPlans(4, of: varied, toAnswer: expected)
    }

    /// The prompts of which 1 and 4 are scored.
    private func expectRandomPlans(
        _ count: UInt64, of run: PlannedRun, toAnswer expected: [PlannedRun.Answer]
    ) {
        for seed in 0..<count {
            var random = SeededGenerator(seed: seed)
            let answers = run.answers(Self.prompts, maxTokens: 12, scored: [1, 4]) {
                guard let plan = ArrangedPlan.random($0, $1, using: &random) else {
                    preconditionFailure("An order made from the dependencies must run.")
                }
                return plan
            }
            #expect(answers == expected, "seed \(seed)")
        }
    }

    @Test(arguments: configurations, PipelineMode.allCases)
    func everyModeGivesTheSameBits(base: EngineConfiguration, mode: PipelineMode) throws {
        let reference = try PlannedRun(Self.configuration(base, threads: 2, tokens: 64))
        let expected = reference.answers(
            Self.prompts, maxTokens: 30, plan: ArrangedPlan.sequential)
        var planner: StepPlanner?
        let answers = reference.answers(Self.prompts, maxTokens: 30) { batch, graph in
            var current = planner ?? StepPlanner(graph, table: nil, mode: mode)
            defer { planner = current }
            return current.plan(batch)
        }
        #expect(answers == expected)
    }

    /// A prefill chunk cut in two, the later part as early as its dependencies let it: with all of
    /// them it waits for the keys of the earlier part; without that one it reads what is not there.
    @Test(arguments: [false, true])
    func attentionWaitsForTheKeysOfTheEarlierPart(isDropped: Bool) throws {
        let prompt = Self.prompts[5]
        let run = try PlannedRun(
            Self.configuration(EngineConfiguration(precision: .f32), threads: 1, tokens: 200))
        let expected = try PlannedRun(
            Self.configuration(EngineConfiguration(precision: .f32), threads: 1, tokens: 200)
        ).answers([prompt], maxTokens: 1, plan: ArrangedPlan.sequential)
        let answers = run.answers([prompt], maxTokens: 1) { batch, graph in
            let layout = BatchLayout(batch, shares: [0.5, 0.5], alignment: 64)
            #expect(layout.boundaries == [0, 64, 150])
            var nanoGraph = graph.split(
                into: NanoBatches(layout), blockSize: KVArena.blockSize)
            if isDropped { nanoGraph = nanoGraph.withoutAppendEdges }
            let order = nanoGraph.order { ready in
                ready.indices.max {
                    (nanoGraph.operations[ready[$0]].nanoBatch, -ready[$0])
                        < (nanoGraph.operations[ready[$1]].nanoBatch, -ready[$1])
                } ?? 0
            }
            guard
                let plan = ArrangedPlan(.sequential(graph), nanoGraph, lanes: [order])
            else { preconditionFailure("An order made from the dependencies must run.") }
            return plan
        }
        #expect((answers == expected) != isDropped)
    }
}

extension NanoGraph {
    /// Without the dependencies of attention on what another part of the batch appends.
    fileprivate var withoutAppendEdges: NanoGraph {
        var graph = self
        for (index, operation) in operations.enumerated()
        where operation.kind == .prefillAttention {
            for dependency in operation.dependencies
            where operations[dependency].kind == .ropeAppend
                && operations[dependency].nanoBatch != operation.nanoBatch
            {
                graph = graph.removing(dependency: dependency, of: index)
            }
        }
        return graph
    }
}
