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
    /// How many matrices have each format.
    package let formatCounts: [MatrixFormat: Int]
    package let tokenizer: Tokenizer
    /// The chat template of the model's file; nil without one.
    package let chatTemplate: ChatTemplate?
    package let inbox: EngineInbox
    /// What has been launched so far.
    package let counters = StepCounters()
    private let unitTimes: UnitTimes
    private let operationKinds: [Operation.Kind]
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
        let loaded = try LoadedModel(
            source, settings: settings, machine: machine, kernels: kernels, progress: progress)
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
        operationKinds = loaded.operationKinds
        let tokenizer = source.tokenizer
        let counters = counters
        thread = ServiceThread(name: "nano-engine") {
            var loop = EngineLoop(
                inbox: inbox, pipeline: loaded.pipeline, tokenizer: tokenizer,
                limits: settings.limits, counters: counters)
            loop.run()
            loaded.stop()
        }
    }

    /// Where the execution units' time has gone since they were started.
    package func operationTimes() -> OperationTimes {
        OperationTimes(unitTimes, kinds: operationKinds)
    }

    /// Ends every request with `.abort` and waits until the threads have gone.
    package func stop() {
        inbox.close()
        thread.join()
    }
}
