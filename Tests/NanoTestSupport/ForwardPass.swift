package import NanoDevice
package import NanoFlow
import NanoModel

/// A model without an engine: runs one prompt and gives its logits.
package final class ForwardPass {
    private let loaded: LoadedModel
    private let settings: EngineSettings
    private var scheduler: Scheduler
    private var nextID = 1
    private let vocabularyCount: Int

    package init(
        path: String, configuration: EngineConfiguration = EngineConfiguration(precision: .f32),
        kernels: Kernels = .best
    ) throws {
        let source = try ModelSource(path)
        let machine = Machine.current()
        settings = try EngineSettings(configuration, source: source, machine: machine)
        loaded = try LoadedModel(
            source, settings: settings, machine: machine, kernels: kernels,
            progress: { _, _ in })
        scheduler = Scheduler(settings.limits)
        vocabularyCount = source.model.vocabularyCount
    }

    deinit { loaded.stop() }

    /// The logits at every position, (position, vocabulary).
    package func logits(_ prompt: [Int]) -> [[Float]] {
        let id = nextID
        nextID += 1
        scheduler.add(id, promptCount: prompt.count, maxTokens: 1, scoresPrompt: true)
        var rows: [[Float]] = []
        while rows.count < prompt.count {
            guard let batch = scheduler.schedule() else {
                preconditionFailure("A lone sequence can always go on.")
            }
            if rows.isEmpty {
                loaded.pipeline.tables.begin(
                    slot: batch.items[0].slot, prompt: prompt.map(Int32.init),
                    sampling: SlotSampling(
                        SamplingParameters(temperature: 0), seed: 0, promptCount: prompt.count))
            }
            let step = loaded.pipeline.launch(batch)
            loaded.pipeline.wait(for: step)
            scheduler.complete(step: batch.step)
            for row in 0..<batch.tokenCount {
                rows.append(Array(loaded.pipeline.logits(row: row)))
            }
        }
        scheduler.end(id)
        return rows
    }
}
