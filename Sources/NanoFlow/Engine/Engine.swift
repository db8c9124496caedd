package import NanoDevice
package import NanoModel
package import NanoTokenizer

/// A loaded model with its engine running on a thread of its own.
///
/// Token ids in, token ids out; ``LLM`` is the door for text.
package final class Engine: Sendable {
    package let model: ModelConfiguration
    package let settings: EngineSettings
    package let machine: Machine
    package let kernelName: String
    package let tokenizer: Tokenizer
    /// The chat template of the model's file; nil without one.
    package let chatTemplate: ChatTemplate?
    package let inbox: EngineInbox
    private let thread: ServiceThread

    /// Opens the file, makes every choice, takes the memory, packs the weights, starts the thread.
    ///
    /// Takes seconds to minutes and blocks; `progress` is called with what is being done and 0...1.
    /// - Throws: ``NanoFlowError``.
    package init(
        path: String, configuration: EngineConfiguration, kernels: Kernels = .best,
        progress: (String, Double) -> Void
    ) throws(NanoFlowError) {
        progress("opening \(path)", 0)
        let source = try ModelSource(path)
        let machine = Machine.current()
        let settings = try EngineSettings(configuration, model: source.model, machine: machine) {
            (format) throws(NanoFlowError) in try source.weightPlan(format).byteCount
        }
        let parts = try EngineParts(
            source, settings: settings, machine: machine, kernels: kernels, progress: progress)
        model = source.model
        tokenizer = source.tokenizer
        chatTemplate = source.chatTemplate
        self.settings = settings
        self.machine = machine
        kernelName = kernels.name
        let inbox = EngineInbox(
            capacity: configuration.maxQueuedRequests + configuration.maxSequences)
        self.inbox = inbox
        let tokenizer = source.tokenizer
        thread = ServiceThread(name: "nano-engine") {
            parts.serve(inbox, tokenizer, settings.limits)
        }
    }

    /// Ends every request with `.abort` and waits until the threads have gone.
    package func stop() {
        inbox.close()
        thread.join()
    }
}

/// A model's file, understood and checked; nothing of the weights is loaded.
private struct ModelSource {
    let model: ModelConfiguration
    let tokenizer: Tokenizer
    let chatTemplate: ChatTemplate?
    private let file: GGUFFile

    init(_ path: String) throws(NanoFlowError) {
        do {
            file = try GGUFFile(path: path)
            model = try ModelConfiguration(file)
            tokenizer = try Tokenizer(TokenizerVocabulary(file))
            let template = try file.stringIfPresent("tokenizer.chat_template")
            chatTemplate = try template.map { try ChatTemplate($0) }
        } catch {
            throw NanoFlowError(.modelLoading, field: path, message: "\(error)")
        }
        guard tokenizer.vocabularyCount <= model.vocabularyCount else {
            throw NanoFlowError(
                .modelLoading, field: "tokenizer.ggml.tokens",
                limit: "at most \(model.vocabularyCount), the rows of token_embd.weight",
                given: "\(tokenizer.vocabularyCount)")
        }
    }

    func weightPlan(_ format: MatrixFormat) throws(NanoFlowError) -> WeightPlan {
        do throws(ModelLoadingError) {
            return try WeightPlan(file, configuration: model, format: format)
        } catch {
            throw NanoFlowError(.modelLoading, field: error.field, message: "\(error)")
        }
    }
}

/// Memory, units and pipeline, made on the caller's thread and handed over to the engine's once.
///
/// `@unchecked Sendable`: nothing here is used by two threads; the hand-over is the thread's start.
private final class EngineParts: @unchecked Sendable {
    private let arenas: [MemoryArena]
    private let units: ExecutionUnits
    private let pipeline: Pipeline

    init(
        _ source: ModelSource, settings: EngineSettings, machine: Machine, kernels: Kernels,
        progress: (String, Double) -> Void
    ) throws(NanoFlowError) {
        let model = source.model
        let graph = OperationGraph.decoder(layerCount: model.layerCount)
        var arenas: [MemoryArena] = []
        for entry in settings.budget.entries {
            guard let arena = MemoryArena(name: entry.name, byteCount: entry.byteCount) else {
                throw NanoFlowError(
                    .insufficientMemory, field: entry.name, limit: "what the system grants",
                    given: bytes(entry.byteCount),
                    message: "The system refused \(bytes(entry.byteCount)) for \(entry.name).")
            }
            arenas.append(arena)
        }
        self.arenas = arenas
        let plan = try source.weightPlan(settings.format)
        units = ExecutionUnits(
            count: settings.threadCount, cpus: machine.allowedCPUs,
            maxOperationCount: graph.operations.count)
        let weights = plan.load(into: arenas[0], units: units) { share in
            progress("packing weights for \(settings.precision.rawValue)", share)
        }
        let kvArena = KVArena(
            layers: model.layerCount, kvHeads: model.kvHeadCount,
            headDimension: model.headDimension, type: settings.kvPrecision.kernelType,
            blockCount: settings.limits.blockCount, arena: arenas[2])
        pipeline = Pipeline(
            model, weights: weights, graph: graph, limits: settings.limits,
            format: settings.format, kvArena: kvArena, kernels: kernels, units: units,
            arena: arenas[1])
    }

    func serve(_ inbox: EngineInbox, _ tokenizer: Tokenizer, _ limits: Scheduler.Limits) {
        var loop = EngineLoop(
            inbox: inbox, pipeline: pipeline, tokenizer: tokenizer, limits: limits)
        loop.run()
        units.stop()
    }
}
