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
        let settings = try EngineSettings(configuration, source: source, machine: machine)
        let loaded = try LoadedModel(
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
            var loop = EngineLoop(
                inbox: inbox, pipeline: loaded.pipeline, tokenizer: tokenizer,
                limits: settings.limits)
            loop.run()
            loaded.stop()
        }
    }

    /// Ends every request with `.abort` and waits until the threads have gone.
    package func stop() {
        inbox.close()
        thread.join()
    }
}
