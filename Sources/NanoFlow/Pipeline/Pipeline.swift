package import NanoDevice
package import NanoModel

/// Runs batches: the model's operations, in the order of the graph, on the execution units.
///
/// In: a ``Batch``. Out: a result for each row that went through the LM head. Next: `Sampling/`
/// draws the tokens as the step's last operation, and the engine settles the step.
///
/// A step may be launched while the one before it runs; it begins when that one has ended. The
/// engine's thread owns this type; the units only see the steps that it submits.
package final class Pipeline {
    package let tables: SlotTables
    private let units: ExecutionUnits
    private var steps: [Step]
    private var next = 0

    /// A step on its way.
    package struct Launched {
        package let batch: Batch
        /// The first result of each item of the batch.
        fileprivate let firstResults: [Int]
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
        _ model: ModelConfiguration, weights: ModelWeights, graph: OperationGraph,
        limits: Scheduler.Limits, format: MatrixFormat, kvArena: KVArena, kernels: Kernels,
        units: ExecutionUnits, arena: MemoryArena
    ) {
        self.units = units
        let tables = SlotTables(limits, arena: arena)
        self.tables = tables
        let shared = StepResources(
            model: model, weights: weights, graph: graph, kvArena: kvArena, kernels: kernels,
            unitCount: units.count, tables: tables,
            activations: Activations(model, limits, format, arena: arena),
            rotary: RotaryTable(
                model, factors: weights.ropeFactors, positions: limits.sequenceLength, arena: arena
            ),
            scratch: (0..<units.count).map { _ in
                UnitScratch(model, kernels: kernels, arena: arena)
            })
        steps = (0..<ExecutionUnits.queueDepth).map { _ in
            Step(shared, input: StepInput(limits, arena: arena))
        }
    }

    /// Submits a batch; at most two may be on their way.
    package func launch(_ batch: Batch) -> Launched {
        let index = next
        next = (next + 1) % steps.count
        let firstResults = steps[index].prepare(batch)
        return Launched(
            batch: batch, firstResults: firstResults, index: index,
            number: units.submit(steps[index]))
    }

    /// Waits until the step has ended.
    package func wait(for step: Launched) {
        units.wait(for: step.number)
    }

    /// The result of one logit row of an item; valid until the step after the next is launched.
    package func result(
        of step: Launched, item: Int, row: Int = 0
    ) -> (RowResult, UnsafeBufferPointer<TokenLogprobPair>) {
        steps[step.index].result(step.firstResults[item] + row)
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

/// What all steps share; read-only for the units but for the buffers, which the order of the
/// operations hands from one to the next.
struct StepResources {
    let model: ModelConfiguration
    let weights: ModelWeights
    let graph: OperationGraph
    let kvArena: KVArena
    let kernels: Kernels
    let unitCount: Int
    let tables: SlotTables
    let activations: Activations
    let rotary: RotaryTable
    let scratch: [UnitScratch]
}

/// Memory that one execution unit has to itself.
final class UnitScratch {
    let row: UnsafeMutablePointer<Float>
    let sampler: Sampler

    static func byteCount(_ model: ModelConfiguration) -> Int {
        MemoryArena.byteCount(Float.self, rowWidth(model))
            + Sampler.byteCount(vocabularyCount: model.vocabularyCount)
    }

    init(_ model: ModelConfiguration, kernels: Kernels, arena: MemoryArena) {
        row = arena.cutFloor(Float.self, Self.rowWidth(model))
        sampler = Sampler(
            vocabularyCount: model.vocabularyCount, kernels: kernels, arena: arena)
    }

    private static func rowWidth(_ model: ModelConfiguration) -> Int {
        max(model.hiddenSize, model.feedForwardSize)
    }
}
