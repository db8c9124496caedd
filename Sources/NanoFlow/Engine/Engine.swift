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
    /// What plans for this engine are made for.
    package let planFingerprint: PlanFingerprint
    /// Why the file of plans is not used; nil: it is, or there is none.
    package let planRefusal: PlanFile.Refusal?
    /// How many matrices have each format.
    package let formatCounts: [MatrixFormat: Int]
    package let tokenizer: Tokenizer
    /// The chat template of the model's file; nil without one.
    package let chatTemplate: ChatTemplate?
    package let inbox: EngineInbox
    /// What has been launched so far.
    package let counters = StepCounters()
    /// What the execution units have run of late, and in which steps.
    package let timeline: Timeline
    package let history: StepHistory
    private let unitTimes: UnitTimes
    private let thread: ServiceThread

    /// Makes every choice, takes the memory, packs the weights, starts the thread.
    ///
    /// Takes seconds to minutes and blocks; `progress` is called with what is being done and 0...1.
    /// - Throws: ``NanoFlowError``.
    package init(
        _ source: ModelSource, configuration: EngineConfiguration, kernels: Kernels? = nil,
        progress: (String, Double) -> Void
    ) throws(NanoFlowError) {
        let machine = Machine.current()
        let kernels = kernels ?? Kernels(configuration.instructionSet ?? .best)
        let settings = try EngineSettings(configuration, source: source, machine: machine)
        planFingerprint = PlanFingerprint(source.model, settings, kernels)
        let graph = OperationGraph.decoder(layerCount: source.model.layerCount)
        let planner: StepPlanner
        (planner, planRefusal) = Self.planner(
            graph, settings.pipeline, planPath: configuration.planPath, for: planFingerprint)
        let loaded = try LoadedModel(
            source, settings: settings, machine: machine, kernels: kernels, planner: planner,
            progress: progress)
        model = source.model
        tokenizer = source.tokenizer
        chatTemplate = source.chatTemplate
        self.settings = settings
        self.machine = machine
        kernelName = kernels.name
        formatCounts = loaded.formatCounts
        let inbox = EngineInbox(
            capacity: configuration.maxQueuedRequests + configuration.maxSequences)
        self.inbox = inbox
        unitTimes = loaded.unitTimes
        timeline = loaded.timeline
        history = loaded.history
        let tokenizer = source.tokenizer
        let counters = counters
        thread = ServiceThread(name: "nano-engine") {
            var loop = EngineLoop(
                inbox: inbox, pipeline: loaded.pipeline, tokenizer: tokenizer,
                limits: settings.limits, choice: settings.pipeline, counters: counters)
            loop.run()
            loaded.stop()
        }
    }

    /// With plans from the file; where they do not fit, ``PipelineMode/auto`` runs in sequence.
    private static func planner(
        _ graph: OperationGraph, _ choice: PipelineChoice, planPath: String?,
        for fingerprint: PlanFingerprint
    ) -> (StepPlanner, PlanFile.Refusal?) {
        guard let planPath else {
            return (StepPlanner(graph, table: nil, mode: choice.mode), nil)
        }
        do {
            let table = try PlanFile.table(path: planPath, for: fingerprint, graph: graph)
            return (StepPlanner(graph, table: table, mode: choice.mode), nil)
        } catch {
            return (StepPlanner(graph, table: PlanTable(), mode: choice.mode), error)
        }
    }

    /// Where the execution units' time has gone since they were started.
    package func operationTimes() -> OperationTimes {
        OperationTimes(unitTimes)
    }

    /// Ends every request with `.abort` and waits until the threads have gone.
    package func stop() {
        inbox.close()
        thread.join()
    }
}
