import Foundation
import NanoDevice
package import NanoFlow
import NanoModel

/// What tuning has found, with what its report needs.
package struct TuneResult: Sendable {
    package let tuning: Tuning
    package let roofs: PipelineDrawing.Roofs
    /// Where the plans lie; nil: they could not be written.
    package let planPath: String?
    /// One layer of the plan of ``Tuning/shown``, as it ran; SVG.
    package let pipeline: String?
    package let layerCount: Int
    fileprivate let workModel: WorkModel

    /// Matrix products with their rates, GOP/s, by rows.
    var operationRates: [(kind: NanoFlow.Operation.Kind, rates: [(place: Double, value: Double)])] {
        let graph = ProfileCase(decodes: 1, context: 1).nanoGraph(layerCount: 1)
        return graph.operations.filter { $0.kind.isProduct || $0.kind == .lmHead }.map {
            operation in
            let work = workModel.work(of: operation, in: graph.layout).operations
            let rates = tuning.device.measuredSeconds(operation.kind).map {
                (place: $0.rows, value: work * $0.rows / $0.seconds / 1e9)
            }
            return (operation.kind, rates)
        }
    }

    /// How fast decode attention reads.
    var attentionInWords: String {
        let graph = ProfileCase(decodes: 1, context: 1).nanoGraph(layerCount: 1)
        guard let attention = graph.operations.first(where: { $0.kind == .decodeAttention }) else {
            return ""
        }
        let bytes = workModel.work(of: attention, in: graph.layout).bytes
        let seconds = tuning.device.decodeSeconds
        let rate = bytes / seconds.perBlock
        return
            "Decode attention takes \(decimal(seconds.perSequence * 1e6, 1)) microseconds for each "
            + "sequence and layer and \(decimal(seconds.perBlock * 1e6, 2)) for each block of "
            + "\(KVArena.blockSize) positions: it reads \(decimal(rate / 1e9, 1)) GB/s, "
            + "\(percent(rate / roofs.bytes)) of the roof."
    }
}

/// Tunes a model that is loaded and serves nobody, and leaves the results where engines look.
package struct TuneRun: Sendable {
    /// All arrive at once.
    package var requests: [Workload.Request]
    /// For all of it but the loading.
    package var seconds: Double
    /// Where the plans go; nil: where engines look for them.
    package var planPath: String?
    /// Where the profile lies; nil: in the folder of caches.
    package var profilePath: String?
    /// Told of what could not be written.
    package var warn: @Sendable (String) -> Void

    package init(
        _ requests: [Workload.Request], seconds: Double, planPath: String? = nil,
        warn: @escaping @Sendable (String) -> Void
    ) {
        (self.requests, self.seconds, self.planPath) = (requests, seconds, planPath)
        self.warn = warn
    }

    /// Takes as long as it may, and blocks.
    ///
    /// - Throws: ``NanoFlowError`` where that did not suffice.
    package func run(
        _ loaded: LoadedModel, _ source: ModelSource, _ settings: EngineSettings,
        _ fingerprint: PlanFingerprint, _ progress: @escaping (String, Double) -> Void
    ) throws(NanoFlowError) -> TuneResult {
        let start = ContinuousClock.now
        let model = source.model
        let depth = Self.profiledLayerCount(model, settings)
        let path = profilePath ?? TuningFiles.path(.profiles, for: fingerprint)
        let known = MachineProfile.read(
            path, for: fingerprint, layerCount: depth, unitCount: settings.threadCount)
        progress("measuring the roofs", 0)
        let roofs = PipelineDrawing.Roofs(measuredWith: settings)
        progress("preparing the cache", 0)
        let bench = StepBench(loaded, limits: settings.limits)
        var tuner = Tuner(
            TuningTask(
                layerCount: model.layerCount, limits: settings.limits,
                unitCount: settings.threadCount, requests: requests, seconds: seconds),
            profile: known
                ?? MachineProfile(fingerprint, layerCount: depth, unitCount: settings.threadCount),
            runner: bench,
            elapsed: { start.duration(to: .now) / .seconds(1) },
            save: { profile in _ = write(path) { try profile.write(to: path) } },
            progress: progress)
        let tuning = try tuner.run()
        let plans = planPath ?? TuningFiles.path(.plans, for: fingerprint)
        let isWritten = write(plans) {
            try PlanFile(tuning.table, for: fingerprint).write(to: plans)
        }
        return TuneResult(
            tuning: tuning, roofs: roofs, planPath: isWritten ? plans : nil,
            pipeline: Self.drawing(tuning, bench, roofs, settings, model),
            layerCount: model.layerCount, workModel: loaded.history.workModel)
    }

    /// Runs a few layers once more: as many as the timeline holds.
    private static func drawing(
        _ tuning: Tuning, _ bench: StepBench, _ roofs: PipelineDrawing.Roofs,
        _ settings: EngineSettings, _ model: ModelConfiguration
    ) -> String? {
        guard let shape = tuning.shown,
            bench.run(
                shape.entry.batch, shape.winner.plan, layerCount: min(model.layerCount, 8)) != nil,
            let excerpt = bench.lastTrace(unitCount: settings.threadCount)?.excerpt
        else { return nil }
        return PipelineDrawing(
            excerpt, unitCount: settings.threadCount, roofs: roofs,
            title: "\(model.name), \(shape.winner.numbers?.text ?? "sequential")"
        ).svg
    }

    private func write(_ path: String, _ body: () throws -> Void) -> Bool {
        do {
            try TuningFiles.makeFolder(for: path)
            try body()
            return true
        } catch {
            warn("\(path) could not be written: \(error.localizedDescription)")
            return false
        }
    }

    /// Layers whose weights are twice what the last-level cache holds: from one step to the next it
    /// has forgotten them, as it would with all layers.
    private static func profiledLayerCount(
        _ model: ModelConfiguration, _ settings: EngineSettings
    ) -> Int {
        let cache =
            MachineTopology(allowedCPUs: Machine.current().allowedCPUs).lastLevelCacheByteCount
        let layer =
            ModelWork(model).layerParameters / model.layerCount
            * settings.format.elementByteCount
        return min(model.layerCount, max(4, 2 * cache / layer + 1))
    }
}
