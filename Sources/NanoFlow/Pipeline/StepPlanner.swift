import NanoDevice

/// Chooses the plan of each step and cuts its batch accordingly.
///
/// Pure: no threads, no clocks.
package struct StepPlanner: Sendable {
    package let graph: OperationGraph
    private let sequential: PipelinePlan
    private var tables: [PipelineMode: PlanTable]
    /// What ``PipelineMode/auto`` chooses from unless it is told otherwise.
    private let own: PlanTable
    private var mode: PipelineMode
    /// What it planned last.
    private var latest: ArrangedPlan?

    /// - Parameters:
    ///   - graph: The model's operations.
    ///   - table: Plans that ``PipelineMode/auto`` chooses from; nil: generated ones.
    ///   - mode: Which plans to run.
    package init(_ graph: OperationGraph, table: PlanTable?, mode: PipelineMode) {
        self.graph = graph
        self.mode = mode
        sequential = .sequential(graph)
        own = table ?? .generated(graph)
        tables = [
            .sequential: PlanTable(), .nanoBatched: PlanTable(.nanoBatched(graph)),
            .overlapped: PlanTable(.overlapped(graph)), .auto: own,
        ]
    }

    /// Runs plans of the mode from now on; ``PipelineMode/auto`` chooses from the table, or where
    /// that is nil from its own.
    package mutating func choose(_ mode: PipelineMode, table: PlanTable? = nil) {
        self.mode = mode
        tables[.auto] = table ?? own
    }

    /// Tokens of a step at most, as the plans have it, in an engine with room for `limit`.
    package func tokenBudget(limit: Int) -> Int {
        tables[mode]?.tokenBudget(limit: limit) ?? limit
    }

    /// The batch's nano-operations and their order.
    ///
    /// Where the plan for its shape would come to a standstill on this very batch, it runs in
    /// sequence.
    package mutating func plan(_ batch: Batch) -> ArrangedPlan {
        let chosen = tables[mode]?.plan(for: BatchShape(batch))
        guard let arranged = chosen.flatMap({ arrange($0, batch) }) ?? arrange(sequential, batch)
        else { preconditionFailure("The model's own order must respect all dependencies.") }
        latest = arranged
        return arranged
    }

    private func arrange(_ plan: PipelinePlan, _ batch: Batch) -> ArrangedPlan? {
        let layout = BatchLayout(
            batch, shares: plan.nanoBatches, alignment: KVArena.blockSize)
        // Step after step decodes the same sequences.
        if let latest, latest.plan == plan, let moved = latest.moved(to: layout) { return moved }
        let nanoGraph = graph.split(
            into: NanoBatches(layout, whole: plan.whole), blockSize: KVArena.blockSize)
        return ArrangedPlan(plan, nanoGraph, layerCount: graph.layerCount)
    }
}
