package import NanoDevice
package import NanoModel

/// Runs batches: the model's operations, as the plan for the batch has them, on the execution units.
///
/// In: a ``Batch``. Out: a result for each row that went through the LM head. Next: `Sampling/`
/// draws the tokens as the step's last operation, and the engine settles the step.
///
/// A step may be launched while the one before it runs; it begins when that one has ended. The
/// engine's thread owns this type; the units only see the steps that it submits.
package final class Pipeline {
    package let tables: SlotTables
    private let units: ExecutionUnits
    private let shared: StepResources
    private var steps: [Step]
    private var next = 0
    /// Chooses each batch's plan.
    package var planner: StepPlanner
    private let history: StepHistory

    /// A step on its way.
    package struct Launched {
        package let batch: Batch
        package let nanoBatchCount: Int
        /// The results of each item of the batch, by their numbers.
        fileprivate let results: [[Int]]
        fileprivate let index: Int
        fileprivate let number: UInt32
    }

    /// Bytes of the arenas beside weights and KV cache: activations, tables, scratch.
    package static func byteCount(
        _ model: ModelConfiguration, _ limits: Scheduler.Limits, format: MatrixFormat,
        unitCount: Int
    ) -> Int {
        Activations.byteCount(model, limits, format) + SlotTables.byteCount(limits)
            + ExecutionUnits.queueDepth * StepInput.byteCount(limits)
            + RotaryTable.byteCount(model, positions: limits.sequenceLength)
            + unitCount * UnitScratch.byteCount(model)
    }

    package init(
        _ model: ModelConfiguration, weights: ModelWeights, planner: StepPlanner,
        limits: Scheduler.Limits, format: MatrixFormat, kvArena: KVArena, kernels: Kernels,
        units: ExecutionUnits, history: StepHistory, arena: MemoryArena
    ) {
        self.units = units
        self.planner = planner
        self.history = history
        let graph = planner.graph
        let tables = SlotTables(limits, arena: arena)
        self.tables = tables
        let operations = UnsafeMutablePointer<ResolvedOperation>.allocate(
            capacity: graph.operations.count)
        for (index, operation) in graph.operations.enumerated() {
            (operations + index).initialize(
                to: ResolvedOperation(
                    operation, model, weights: weights, kvArena: kvArena, unitCount: units.count))
        }
        let scratch = UnsafeMutablePointer<UnitScratch>.allocate(capacity: units.count)
        for unit in 0..<units.count {
            (scratch + unit).initialize(
                to: UnitScratch(model, kernels: kernels, arena: arena))
        }
        shared = StepResources(
            model: model, weights: weights, workModel: history.workModel,
            operations: UnsafePointer(operations),
            kernels: kernels, unitCount: units.count, tables: tables,
            activations: Activations(model, limits, format, arena: arena),
            rotary: RotaryTable(
                model, factors: weights.ropeFactors, positions: limits.sequenceLength, arena: arena
            ),
            scratch: UnsafePointer(scratch))
        let shared = shared
        steps = (0..<ExecutionUnits.queueDepth).map { _ in
            Step(shared, input: StepInput(limits, arena: arena))
        }
    }

    deinit {
        shared.operations.deallocate()
        shared.scratch.deallocate()
    }

    /// Submits a batch; at most two may be on their way.
    package func launch(_ batch: Batch) -> Launched {
        launch(batch, planner.plan(batch))
    }

    /// Submits a batch as a plan has it.
    package func launch(_ batch: Batch, _ arranged: ArrangedPlan) -> Launched {
        let index = next
        next = (next + 1) % steps.count
        let results = steps[index].prepare(batch, arranged)
        let number = units.submit(steps[index])
        history.add(number, steps[index].tileCounts, arranged)
        return Launched(
            batch: batch, nanoBatchCount: arranged.graph.layout.nanoBatchCount, results: results,
            index: index, number: number)
    }

    /// Waits until the step has ended.
    package func wait(for step: Launched) {
        units.wait(for: step.number)
    }

    /// Waits until the units have left every step.
    package func waitUntilIdle() { units.waitUntilIdle() }

    /// The result of one logit row of an item; valid until the step after the next is launched.
    package func result(
        of step: Launched, item: Int, row: Int = 0
    ) -> (RowResult, UnsafeBufferPointer<TokenLogprobPair>) {
        steps[step.index].result(step.results[item][row])
    }
}

extension Pipeline {
    /// The logits (vocabulary) of one logit row of the last step; for tests and tools.
    ///
    /// Valid between the step's end and the next launch. Where a token was sampled with penalties
    /// they are the model's own all the same.
    package func logits(row: Int) -> UnsafeBufferPointer<Float> {
        steps[0].logits(row: row)
    }
}
