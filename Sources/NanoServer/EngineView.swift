import NanoFlow

/// The answer of `GET /nanoflow/engine`: the engine as it is now, for the page and for people.
struct EngineView: Encodable {
    struct Requests: Encodable {
        let running: Int
        let waiting: Int
    }

    struct Blocks: Encodable {
        let total: Int
        let used: Int
        @ExplicitNull var predictedPeak: Int?
        let blockSize: Int

        private enum CodingKeys: String, CodingKey {
            case total, used
            case predictedPeak = "predicted_peak"
            case blockSize = "block_size"
        }
    }

    struct Tokens: Encodable {
        let prompt: Int
        let cached: Int
        let generated: Int
    }

    struct Utilisation: Encodable {
        let arithmetic: Double
        let memory: Double
    }

    let model: String
    let version = NanoServer.version
    let kernel: String
    let precision: String
    let kvPrecision: String
    let threads: Int
    let maxModelLength: Int
    let uptimeSeconds: Double
    let requests: Requests
    let blocks: Blocks
    let tokens: Tokens
    let steps: Int
    let tokensPerSecond: Double
    @ExplicitNull var optimalRatio: Double?
    @ExplicitNull var utilisation: Utilisation?

    private enum CodingKeys: String, CodingKey {
        case model, version, kernel, precision, threads, requests, tokens, steps, utilisation
        case kvPrecision = "kv_precision"
        case maxModelLength = "max_model_len"
        case uptimeSeconds = "uptime_seconds"
        case blocks = "kv_blocks"
        case tokensPerSecond = "tokens_per_second"
        case optimalRatio = "optimal_ratio"
    }

    init(_ engine: Engine, modelName: String, uptimeSeconds: Double) {
        let (status, rates) = (engine.status, engine.rates)
        model = modelName
        kernel = engine.kernelName
        precision = engine.settings.precision.rawValue
        kvPrecision = engine.settings.kvPrecision.rawValue
        threads = engine.settings.threadCount
        maxModelLength = engine.settings.limits.sequenceLength
        self.uptimeSeconds = uptimeSeconds
        requests = Requests(running: status.runningRequests, waiting: status.waitingRequests)
        blocks = Blocks(
            total: status.blockCount, used: status.usedBlocks,
            predictedPeak: status.runningRequests > 0
                ? status.scheduler.predictedPeakBlocks : nil,
            blockSize: engine.settings.limits.blockSize)
        tokens = Tokens(
            prompt: status.promptTokens, cached: status.cachedPromptTokens,
            generated: status.generatedTokens)
        steps = engine.counters.sums.steps
        tokensPerSecond = rates.tokensPerSecond
        optimalRatio = rates.optimalRatio
        if let arithmetic = rates.arithmetic, let memory = rates.memory {
            utilisation = Utilisation(arithmetic: arithmetic, memory: memory)
        }
    }
}
