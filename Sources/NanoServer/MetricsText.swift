import NanoFlow

/// What the server and its engine count, in the text format of Prometheus, version 0.0.4.
///
/// Where vLLM has a metric, its name, type, labels and buckets are taken; the rest is `nanoflow:`.
struct MetricsText {
    private let modelName: String
    private(set) var text = ""

    init(_ engine: Engine?, requests: RequestCounters.Values, modelName: String) {
        self.modelName = modelName
        if let engine {
            addRequests(engine.status)
            addHistograms(engine.monitor.metrics.current)
            addCacheConfiguration(engine)
            addForecast(engine.status)
            addDisk(engine.status)
            addRates(engine)
        }
        addServer(requests)
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
        counter(
            "vllm:prompt_tokens_cached", "Tokens of prompts that were not computed.",
            status.cachedPromptTokens)
        counter("vllm:generation_tokens", "Tokens of completions.", status.generatedTokens)
        counter(
            "vllm:prefix_cache_queries", "Tokens of prompts looked for in the cache.",
            status.promptTokens)
        counter(
            "vllm:prefix_cache_hits", "Tokens of prompts found in the cache, or on disk.",
            status.cachedPromptTokens)
        gauge(
            "nanoflow:queued_seconds",
            "Time that requests which have not begun are predicted to take.", status.queuedSeconds)
        counter(
            "nanoflow:overdue_requests", "Requests given up since they had waited too long.",
            status.overdueRequests)
        gauge(
            "nanoflow:memory_bound_bytes", "What the process has in memory at most.",
            status.memoryBoundByteCount)
    }

    private mutating func addHistograms(_ values: ServingMetrics.Values) {
        family("vllm:request_success_total", "Requests that have ended.", "counter")
        for reason in FinishReason.allCases {
            sample(
                "vllm:request_success_total", [("finished_reason", reason.rawValue)],
                "\(values.finished[reason] ?? 0)")
        }
        let seconds: [(String, String, Histogram)] = [
            (
                "time_to_first_token_seconds", "From arrival to first token.",
                values.timeToFirstToken
            ),
            ("inter_token_latency_seconds", "Between tokens.", values.interTokenLatency),
            (
                "request_time_per_output_token_seconds", "A request's mean between tokens.",
                values.timePerOutputToken
            ),
            ("e2e_request_latency_seconds", "From arrival to end.", values.endToEnd),
            ("request_queue_time_seconds", "From arrival to first step.", values.queued),
            ("request_inference_time_seconds", "From first step to end.", values.inference),
            ("request_prefill_time_seconds", "From first step to first token.", values.prefill),
            ("request_decode_time_seconds", "From first token to last.", values.decode),
        ]
        let counts: [(String, String, Histogram)] = [
            ("request_prompt_tokens", "Tokens of a prompt.", values.promptTokens),
            ("request_generation_tokens", "Tokens of a completion.", values.generatedTokens),
            (
                "request_max_num_generation_tokens", "Tokens that a completion may have.",
                values.maxTokens
            ),
            ("request_params_max_tokens", "The parameter max_tokens.", values.maxTokens),
            (
                "request_prefill_kv_computed_tokens", "Tokens of a prompt that were computed.",
                values.computedPromptTokens
            ),
            ("iteration_tokens_total", "Tokens of a step.", values.stepTokens),
        ]
        for (name, help, values) in seconds + counts { histogram("vllm:\(name)", help, values) }
    }

    private mutating func addCacheConfiguration(_ engine: Engine) {
        let limits = engine.settings.limits
        family("vllm:cache_config_info", "The KV cache's sizes.", "gauge")
        sample(
            "vllm:cache_config_info",
            [
                ("block_size", "\(limits.blockSize)"),
                ("cache_dtype", engine.settings.kvPrecision.rawValue),
                ("num_gpu_blocks", "\(limits.blockCount)"),
            ], "1")
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

    private mutating func addRates(_ engine: Engine) {
        let rates = engine.rates
        gauge(
            "nanoflow:tokens_per_second", "Tokens computed a second, over the last 10 s.",
            rates.tokensPerSecond)
        if let ratio = rates.optimalRatio {
            gauge(
                "nanoflow:optimal_ratio",
                "Throughput over the last 10 s as a share of what the peak allows; 0 when idle.",
                ratio)
        }
        let shares = [("compute", rates.arithmetic), ("memory", rates.memory)]
        family(
            "nanoflow:utilisation", "Share of the machine's peak used over the last 10 s.", "gauge")
        for (resource, share) in shares {
            if let share { sample("nanoflow:utilisation", [("resource", resource)], "\(share)") }
        }
        let times = engine.operationTimes()
        family(
            "nanoflow:operation_seconds_total", "Time of an execution unit, on average.", "counter")
        for entry in times.entries {
            sample(
                "nanoflow:operation_seconds_total", [("operation", entry.kind.rawValue)],
                "\(entry.seconds)")
        }
        sample(
            "nanoflow:operation_seconds_total", [("operation", "waiting")],
            "\(times.waitingSeconds)")
    }

    private mutating func addServer(_ requests: RequestCounters.Values) {
        histogram("vllm:request_params_n", "The parameter n.", requests.choices)
        family(
            "nanoflow:requests_rejected_total", "Requests answered with an error, by its code.",
            "counter")
        // From 0 on, or the first of a kind would not be seen as an increase.
        for code in ErrorResponse.codes {
            let count = requests.rejections[code] ?? 0
            sample("nanoflow:requests_rejected_total", [("reason", code)], "\(count)")
        }
    }
}

extension MetricsText {
    private mutating func gauge(_ name: String, _ help: String, _ value: some Numeric) {
        family(name, help, "gauge")
        sample(name, [], "\(value)")
    }

    /// The samples of a counter end in `_total`, as Prometheus's own clients write them.
    private mutating func counter(_ name: String, _ help: String, _ value: Int) {
        family("\(name)_total", help, "counter")
        sample("\(name)_total", [], "\(value)")
    }

    private mutating func histogram(_ name: String, _ help: String, _ values: Histogram) {
        family(name, help, "histogram")
        var below = 0
        for (bound, count) in zip(values.bounds, values.counts) {
            below += count
            sample("\(name)_bucket", [("le", "\(bound)")], "\(below)")
        }
        sample("\(name)_bucket", [("le", "+Inf")], "\(values.count)")
        sample("\(name)_sum", [], "\(values.sum)")
        sample("\(name)_count", [], "\(values.count)")
    }

    private mutating func family(_ name: String, _ help: String, _ type: String) {
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
    }

    private mutating func sample(
        _ name: String, _ labels: [(name: String, value: String)], _ value: String
    ) {
        let all = [("engine", "0"), ("model_name", modelName)] + labels
        let list = all.map { "\($0.0)=\"\(Self.escaped($0.1))\"" }.joined(separator: ",")
        text += "\(name){\(list)} \(value)\n"
    }

    private static func escaped(_ value: String) -> String {
        // By scalars: a carriage return and a line feed are one character.
        value.unicodeScalars.reduce(into: "") { text, scalar in
            switch scalar {
            case "\\": text += "\\\\"
            case "\"": text += "\\\""
            case "\n": text += "\\n"
            default: text.unicodeScalars.append(scalar)
            }
        }
    }
}
