package import NanoDevice
package import NanoModel
package import NanoTokenizer

/// Chooses the plans of a model that is loaded and serves nobody yet.
package typealias PlanMaker =
    @Sendable (
        LoadedModel, ModelSource, EngineSettings, PlanFingerprint,
        @escaping (String, Double) -> Void
    ) throws(NanoFlowError) -> ChosenPlans

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
    package let plans: ChosenPlans
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
    /// Where the disk tier's file is and how it is used; nil without one.
    package let diskTierText: String?
    package let monitor: EngineMonitor
    private let unitTimes: UnitTimes
    /// What packing the weights came to.
    private let loadingTimes: OperationTimes
    private let thread: ServiceThread
    private let isStopped = Locked(false)

    /// Makes every choice, takes the memory, packs the weights, starts the thread.
    ///
    /// Takes seconds to minutes and blocks; `progress` is called with what is being done and 0...1.
    ///
    /// - Parameters:
    ///   - source: The model.
    ///   - configuration: What to use of the machine.
    ///   - kernels: The kernels; nil: those of the configuration.
    ///   - makePlans: Chooses the plans once the model is loaded; nil: those that the configuration
    ///     names.
    ///   - progress: Told what is being done.
    /// - Throws: ``NanoFlowError``.
    package init(
        _ source: ModelSource, configuration: EngineConfiguration, kernels: Kernels? = nil,
        makePlans: PlanMaker? = nil, progress: @escaping (String, Double) -> Void
    ) throws(NanoFlowError) {
        let machine = Machine.current()
        let kernels = kernels ?? Kernels(configuration.instructionSet ?? .best)
        let settings = try EngineSettings(configuration, source: source, machine: machine)
        planFingerprint = PlanFingerprint(source.model, settings, kernels)
        let graph = OperationGraph.decoder(layerCount: source.model.layerCount)
        let loaded = try LoadedModel(
            source, settings: settings, machine: machine, kernels: kernels, progress: progress)
        if let makePlans {
            do {
                plans = try makePlans(loaded, source, settings, planFingerprint, progress)
            } catch {
                loaded.stop()
                throw error
            }
        } else {
            plans = ChosenPlans(configuration.plans, for: planFingerprint, graph: graph)
        }
        loaded.pipeline.planner = StepPlanner(
            graph, table: plans.table, mode: settings.pipeline.mode)
        model = source.model
        tokenizer = source.tokenizer
        chatTemplate = source.chatTemplate
        self.settings = settings
        self.machine = machine
        kernelName = kernels.name
        formatCounts = loaded.formatCounts
        let inbox = EngineInbox(
            capacity: configuration.maxQueuedRequests + configuration.maxSequences,
            tokenCapacity: settings.maxQueuedTokens,
            maxQueuedSeconds: settings.serving.maxWaitingSeconds)
        self.inbox = inbox
        unitTimes = loaded.unitTimes
        loadingTimes = OperationTimes(loaded.unitTimes)
        timeline = loaded.timeline
        history = loaded.history
        let tokenizer = source.tokenizer
        let counters = counters
        var start = EngineStatus()
        start.blockCount = settings.limits.blockCount
        start.memoryBoundByteCount = settings.budget.totalByteCount
        let monitor = EngineMonitor(start, maxModelLength: settings.limits.sequenceLength)
        self.monitor = monitor
        let blockNamer = Self.blockNamer(
            configuration, planFingerprint, source, progress: progress)
        let diskTier: DiskTier?
        do {
            diskTier = try Self.openDiskTier(
                configuration, blockNamer, loaded, rings: inbox, progress: progress)
        } catch {
            loaded.stop()
            throw error
        }
        diskTierText = diskTier?.description
        thread = ServiceThread(name: "nano-engine") {
            var loop = EngineLoop(
                inbox: inbox, pipeline: loaded.pipeline, tokenizer: tokenizer,
                settings: settings, blockNamer: blockNamer, counters: counters,
                diskTier: diskTier, monitor: monitor)
            loop.run()
            loaded.stop()
        }
    }

    /// What runs and waits, and what has been counted, after the last step.
    package var status: EngineStatus { monitor.status }

    /// Seconds for which there has been something to do and none of it has been done.
    package var secondsWithoutProgress: Double {
        guard inbox.unfinishedCount > 0 else { return 0 }
        let since = max(monitor.lastProgress, inbox.busySince)
        return Double(max(monotonicNanoseconds(), since) - since) / 1e9
    }

    /// Where the execution units' time has gone since the model was loaded.
    package func operationTimes() -> OperationTimes {
        OperationTimes(unitTimes) - loadingTimes
    }

    /// Ends every request with `.abort` and waits until the threads have gone.
    package func stop() {
        inbox.close()
        isStopped.withLock { isStopped in
            if !isStopped { thread.join() }
            isStopped = true
        }
    }
}
