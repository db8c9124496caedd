import Foundation
import NanoDevice
package import NanoFlow
import NanoModel

/// Tunes a model that is loaded and serves nobody, and leaves the results where engines look.
package struct TuneRun: Sendable {
    /// All arrive at once.
    package var requests: [Workload.Request]
    /// For all of it but the loading.
    package var seconds: Double
    /// Where the plans go; nil: where engines look for them.
    package var planPath: String?
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
    package func run(
        _ loaded: LoadedModel, _ source: ModelSource, _ settings: EngineSettings,
        _ fingerprint: PlanFingerprint, _ progress: @escaping (String, Double) -> Void
    ) -> Tuning {
        let start = ContinuousClock.now
        let model = source.model
        let depth = Self.profiledLayerCount(model, settings)
        let path = TuningFiles.path(.profiles, for: fingerprint)
        let known = MachineProfile.read(
            path, for: fingerprint, layerCount: depth, unitCount: settings.threadCount)
        progress("preparing the cache", 0)
        var tuner = Tuner(
            Tuner<StepBench>.Task(
                layerCount: model.layerCount, limits: settings.limits,
                unitCount: settings.threadCount, requests: requests, seconds: seconds),
            profile: known
                ?? MachineProfile(fingerprint, layerCount: depth, unitCount: settings.threadCount),
            runner: StepBench(loaded, limits: settings.limits),
            elapsed: { start.duration(to: .now) / .seconds(1) },
            save: { profile in write(path) { try profile.write(to: path) } }, progress: progress)
        let tuning = tuner.run()
        let plans = planPath ?? TuningFiles.path(.plans, for: fingerprint)
        write(plans) { try PlanFile(tuning.table, for: fingerprint).write(to: plans) }
        return tuning
    }

    private func write(_ path: String, _ body: () throws -> Void) {
        do {
            try TuningFiles.makeFolder(for: path)
            try body()
        } catch {
            warn("\(path) could not be written: \(error.localizedDescription)")
        }
    }

    /// Layers whose weights are twice what the last-level cache holds: from one step to the next it
    /// has forgotten them, as it would with all layers.
    private static func profiledLayerCount(
        _ model: ModelConfiguration, _ settings: EngineSettings
    ) -> Int {
        let caches = MachineTopology(allowedCPUs: Machine.current().allowedCPUs).caches
        let cache = caches.map(\.byteCount).max() ?? 64 << 20
        let layer =
            ModelWork(model).layerParameters / model.layerCount
            * settings.format.elementByteCount
        return min(model.layerCount, max(4, 2 * cache / layer + 1))
    }
}
