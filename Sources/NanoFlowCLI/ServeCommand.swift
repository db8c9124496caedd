import ArgumentParser
import Logging
import NanoDevice
import NanoFlow
import NanoModel
import NanoSearch
import NanoServer

/// `nanoflow serve`: the OpenAI-compatible server.
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Serves a model through an OpenAI-compatible HTTP API.")

    @OptionGroup var options: ModelOptions

    @OptionGroup var admission: AdmissionOptions

    @Option(help: "Address to listen on.")
    var host = "127.0.0.1"

    @Option(help: "Port to listen on; 0 takes any free one.")
    var port = 8000

    @Option(help: "The model's name for clients (default: the name in its file).")
    var servedModelName: String?

    @Option(
        help: """
            A key that requests must show, as Authorization: Bearer KEY; may be given several times. \
            Everyone on the machine can read a command line: the environment or a file is safer \
            (default: none is asked for).
            """)
    var apiKey: [String] = []

    @Option(
        help:
            "Seconds that answers in flight may take after SIGTERM; a second signal cuts them off.")
    var drainTime = 30.0

    @Option(
        help: """
            Seconds without a completed step, while there is work, after which /health says that the \
            engine is stuck.
            """)
    var progressTime = 60.0

    @Flag(
        help: """
            Where there are no tuned plans for the model on this machine, tune before serving, as \
            `nanoflow tune` does with its defaults, but without a report: it takes about a minute.
            """)
    var autoTune = false

    func validate() throws {
        guard !autoTune || options.engine.plan == nil else {
            throw ValidationError("--auto-tune looks for the plans that --plan would give.")
        }
        for (name, value, least) in [
            ("drain-time", drainTime, 0), ("progress-time", progressTime, 1),
        ] {
            guard (Double(least)...86_400).contains(value) else {
                throw ValidationError(
                    "--\(name) must be \(least) to 86400 seconds. Given: \(value).")
            }
        }
        guard apiKey.allSatisfy({ !$0.isEmpty }) else {
            throw ValidationError("--api-key must not be empty.")
        }
        guard (0...65_535).contains(port) else {
            throw ValidationError("--port must be 0 to 65535. Given: \(port).")
        }
    }

    func run() async throws {
        let llm = try await options.load(
            makePlans: autoTune ? tunedPlans() : nil, serving: admission)
        await measureRoofs(of: llm)
        printError(summary(of: llm))
        let model = servedModelName ?? llm.modelName
        let host = host
        let server = NanoServer(
            generator: llm,
            configuration: serverConfiguration
        ) { port in
            // An IPv6 address stands in brackets in a URL.
            let name = host.contains(":") ? "[\(host)]" : host
            printPart(Self.greeting(url: "http://\(name):\(port)", model: model))
        }
        do {
            try await server.run()
        } catch {
            printError("nanoflow: \(error)")
            await llm.shutdown()
            throw ExitCode.failure
        }
        await llm.shutdown()
    }

    private var serverConfiguration: ServerConfiguration {
        var configuration = ServerConfiguration(
            host: host, port: port, servedModelName: servedModelName)
        configuration.apiKeys = apiKey
        configuration.drainDuration = .seconds(drainTime)
        configuration.progressDuration = .seconds(progressTime)
        return configuration
    }

    /// What nanoflow:optimal_ratio is a share of.
    private func measureRoofs(of llm: LLM) async {
        let progress = ProgressLine()
        progress.show("measuring what the machine does at most", 0)
        await Task.detached { llm.engine.measureRoofs() }.value
        progress.clear()
    }

    /// Tunes with the defaults where that has not been done.
    private func tunedPlans() -> PlanMaker {
        { loaded, source, settings, fingerprint, progress throws(NanoFlowError) in
            let graph = OperationGraph.decoder(layerCount: source.model.layerCount)
            let known = ChosenPlans(.tuned, for: fingerprint, graph: graph)
            if known.refusal == nil { return known }
            let run = try TunedWorkload.defaults.run(source, settings)
            let result = try run.run(loaded, source, settings, fingerprint, progress)
            return ChosenPlans(made: result.tuning.table)
        }
    }

    private func summary(of llm: LLM) -> String {
        let engine = llm.engine
        let settings = engine.settings
        return """
            model    \(llm.modelName), \(engine.model.architecture.rawValue), \
            context \(llm.maxModelLength) tokens
            kernels  \(engine.kernelName), precision \(settings.precision.rawValue), \
            KV cache \(settings.kvPrecision.rawValue)
            threads  \(threads(of: engine))
            plans    \(engine.plans.origin)
            batch    \(settings.limits.sequences) sequences, \
            \(tokens(of: engine)) a step, \
            KV cache of \(settings.limits.blockCount * settings.limits.blockSize) tokens
            disk     \(engine.diskTierText ?? "not used; --kv-disk-dir keeps KV blocks there")
            memory
            \(settings.budget.description)
            """
    }

    private func tokens(of engine: Engine) -> String {
        let limit = engine.settings.limits.batchedTokens
        let budget = engine.plans.table?.tokenBudget(limit: limit) ?? limit
        return budget == limit ? "\(limit) tokens" : "\(budget) tokens (there is room for \(limit))"
    }

    /// The map of execution units to CPUs, and a warning where they are more than is paid for.
    private func threads(of engine: Engine) -> String {
        let count = engine.settings.threadCount
        let map = ExecutionUnitMap(unitCount: count, cpus: engine.machine.allowedCPUs)
        let usable = engine.machine.usableThreadCount
        guard count > usable else { return map.description }
        return """
            \(map)
                     (--threads exceeds the \(usable) that allowed CPUs and CPU quota suffice for)
            """
    }

    private static func greeting(url: String, model: String) -> String {
        let body = """
            {"model": \(quotedJSON(model)), "temperature": 0, "max_tokens": 64, \
            "messages": [{"role": "user", "content": "What is the capital of France?"}]}
            """
        // Inside single quotes a shell takes everything as it is but the single quote.
        let argument = body.split(separator: "'", omittingEmptySubsequences: false)
            .joined(separator: "'\\''")
        return """
            Serving \(model) at \(url)

            curl \(url)/v1/chat/completions -H 'Content-Type: application/json' -d '\(argument)'

            """
    }
}
