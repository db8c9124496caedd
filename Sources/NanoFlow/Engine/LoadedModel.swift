package import NanoDevice
import NanoModel

/// Memory, units and pipeline, made on the caller's thread and handed over to the engine's once.
///
/// `@unchecked Sendable`: nothing here is used by two threads; the hand-over is the thread's start.
package final class LoadedModel: @unchecked Sendable {
    private let arenas: [MemoryArena]
    private let units: ExecutionUnits
    package let pipeline: Pipeline
    let kvArena: KVArena
    /// The steps launched of late.
    package let history: StepHistory
    /// How many matrices have each format.
    let formatCounts: [MatrixFormat: Int]

    /// Takes the memory that `settings` has budgeted and packs the weights into it.
    package init(
        _ source: ModelSource, settings: EngineSettings, machine: Machine, kernels: Kernels,
        progress: (String, Double) -> Void
    ) throws(NanoFlowError) {
        let model = source.model
        var arenas: [MemoryArena] = []
        for entry in settings.budget.arenas {
            guard let arena = MemoryArena(name: entry.name, byteCount: entry.byteCount) else {
                throw NanoFlowError(
                    .insufficientMemory, field: entry.name, limit: "what the system grants",
                    given: bytes(entry.byteCount),
                    message: "The system refused \(bytes(entry.byteCount)) for \(entry.name).")
            }
            arenas.append(arena)
        }
        self.arenas = arenas
        let plan = try source.weightPlan(settings.formats)
        units = ExecutionUnits(
            count: settings.threadCount, cpus: machine.allowedCPUs,
            categoryCount: Operation.Kind.allCases.count)
        let weights = plan.load(into: arenas[0], units: units, kernels: kernels) { share in
            progress("packing weights for \(settings.precision.rawValue)", share)
        }
        formatCounts = weights.formatCounts
        kvArena = KVArena(
            layers: model.layerCount, kvHeads: model.kvHeadCount,
            headDimension: model.headDimension, type: settings.kvPrecision.kernelType,
            blockCount: settings.limits.blockCount, arena: arenas[2])
        kvArena.makeResident(byteCount: Self.residentCacheByteCount)
        history = StepHistory(
            WorkModel(
                model, blockByteCount: kvArena.headByteCount,
                parameterByteCount: settings.format.elementByteCount,
                embeddingByteCount: weights.embedding.rowByteCount))
        pipeline = Pipeline(
            model, weights: weights,
            planner: StepPlanner(
                .decoder(layerCount: model.layerCount), table: nil, mode: .sequential),
            limits: settings.limits, format: settings.format, kvArena: kvArena,
            kernels: kernels, units: units, history: history, arena: arenas[1])
    }

    /// Bytes of the KV cache that a first load of some tens of sequences fills without a wait for
    /// pages; the rest becomes resident as it is written.
    private static let residentCacheByteCount = 256 << 20

    var unitTimes: UnitTimes { units.times }
    var timeline: Timeline { units.timeline }

    /// Ends the execution units' threads.
    package func stop() { units.stop() }
}
