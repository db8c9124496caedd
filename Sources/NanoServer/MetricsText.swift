import NanoFlow

/// The engine's figures in the text format of Prometheus, version 0.0.4.
///
/// Where vLLM has a metric, its name, type and labels are taken; the rest is `nanoflow:`.
struct MetricsText {
    private let modelName: String
    private(set) var text = ""

    init(_ status: EngineStatus, modelName: String) {
        self.modelName = modelName
        addRequests(status)
        addForecast(status)
        addDisk(status)
    }

    private mutating func addRequests(_ status: EngineStatus) {
        gauge("vllm:num_requests_running", "Requests that run.", status.runningRequests)
        gauge("vllm:num_requests_waiting", "Requests that wait.", status.waitingRequests)
        gauge(
            "vllm:kv_cache_usage_perc", "Share of the KV blocks in use; 1 is all.",
            Double(status.usedBlocks) / Double(max(1, status.blockCount)))
        counter(
            "vllm:num_preemptions", "Times that a request gave up its blocks for another.",
            status.scheduler.preemptions)
        counter("vllm:prompt_tokens", "Tokens of prompts.", status.promptTokens)
        counter("vllm:generation_tokens", "Tokens of completions.", status.generatedTokens)
        counter(
            "vllm:prefix_cache_queries", "Tokens of prompts looked for in the cache.",
            status.promptTokens)
        counter(
            "vllm:prefix_cache_hits", "Tokens of prompts found in the cache, or on disk.",
            status.cachedPromptTokens)
        gauge(
            "nanoflow:memory_bound_bytes", "What the process has in memory at most.",
            status.memoryBoundByteCount)
    }

    private mutating func addForecast(_ status: EngineStatus) {
        let counts = status.scheduler
        gauge("nanoflow:kv_blocks", "KV blocks in memory.", status.blockCount)
        gauge("nanoflow:kv_blocks_used", "KV blocks in use.", status.usedBlocks)
        gauge(
            "nanoflow:kv_blocks_predicted_peak",
            "The most blocks in use that were predicted when a request was last admitted.",
            counts.predictedPeakBlocks)
        gauge(
            "nanoflow:kv_blocks_used_peak", "The most blocks that have been in use.",
            counts.mostUsedBlocks)
        counter(
            "nanoflow:forecast_predicted_tokens",
            "Tokens predicted for completions that have ended, when they were admitted.",
            counts.predictedTokens)
        counter(
            "nanoflow:forecast_actual_tokens", "What those completions came to.",
            counts.completedTokens)
    }

    private mutating func addDisk(_ status: EngineStatus) {
        let moved = status.transfers
        gauge("nanoflow:kv_disk_blocks", "KV blocks on disk.", status.diskBlocks)
        gauge(
            "nanoflow:kv_disk_blocks_limit", "KV blocks that the disk tier has room for.",
            status.diskBlockLimit)
        counter("nanoflow:kv_disk_stored_blocks", "Blocks written to disk.", moved.stored)
        counter("nanoflow:kv_disk_fetched_blocks", "Blocks read from disk.", moved.fetched)
        counter(
            "nanoflow:kv_disk_skipped_blocks",
            "Blocks not written since the disk was too slow or full of others.", moved.skipped)
        counter(
            "nanoflow:kv_disk_failed_stores", "Blocks that could not be written.",
            moved.failedStores)
        counter(
            "nanoflow:kv_disk_failed_fetches",
            "Blocks that could not be read, and were computed anew.", moved.failedFetches)
        counter(
            "nanoflow:kv_disk_checksum_faults",
            "Of those, blocks whose checksum or name was wrong.", status.diskChecksumFaults)
    }

    private mutating func gauge(_ name: String, _ help: String, _ value: some Numeric) {
        add(name, help, "gauge", "\(value)")
    }

    /// The samples of a counter end in `_total`, as Prometheus's own clients write them.
    private mutating func counter(_ name: String, _ help: String, _ value: Int) {
        add("\(name)_total", help, "counter", "\(value)")
    }

    private mutating func add(_ name: String, _ help: String, _ type: String, _ value: String) {
        text += """
            # HELP \(name) \(help)
            # TYPE \(name) \(type)
            \(name){engine="0",model_name="\(escapedModelName)"} \(value)

            """
    }

    private var escapedModelName: String {
        modelName.reduce(into: "") { text, character in
            switch character {
            case "\\": text += "\\\\"
            case "\"": text += "\\\""
            case "\n": text += "\\n"
            default: text.append(character)
            }
        }
    }
}
