import NanoDevice

/// Latencies and sizes of what has been served: the engine's thread adds, any reads.
///
/// The bounds are those of vLLM's metrics of the same names.
package final class ServingMetrics: Sendable {
    /// What has been counted since the start.
    package struct Values: Sendable {
        package var timeToFirstToken = Histogram(firstTokenBounds)
        package var interTokenLatency = Histogram(tokenBounds)
        package var timePerOutputToken = Histogram(tokenBounds)
        package var endToEnd = Histogram(requestBounds)
        package var queued = Histogram(requestBounds)
        package var inference = Histogram(requestBounds)
        package var prefill = Histogram(requestBounds)
        package var decode = Histogram(requestBounds)
        package var promptTokens: Histogram
        package var computedPromptTokens: Histogram
        package var generatedTokens: Histogram
        package var maxTokens: Histogram
        package var stepTokens = Histogram(stepBounds)
        package var finished: [FinishReason: Int] = [:]

        init(maxModelLength: Int) {
            let bounds = tokenCountBounds(upTo: maxModelLength)
            promptTokens = Histogram(bounds)
            computedPromptTokens = Histogram(bounds)
            generatedTokens = Histogram(bounds)
            maxTokens = Histogram(bounds)
        }

        mutating func add(
            _ request: ActiveRequest, _ reason: FinishReason, _ timings: RequestTimings
        ) {
            finished[reason, default: 0] += 1
            endToEnd.add(timings.total)
            queued.add(timings.queued)
            inference.add(timings.prefill + timings.decode)
            prefill.add(timings.prefill)
            decode.add(timings.decode)
            promptTokens.add(Double(request.prompt.count))
            computedPromptTokens.add(Double(request.computedPromptTokens))
            generatedTokens.add(Double(request.completionTokens))
            maxTokens.add(Double(request.maxTokens))
            if request.completionTokens > 1 {
                timePerOutputToken.add(timings.decode / Double(request.completionTokens - 1))
            }
        }
    }

    private let values: Locked<Values>

    init(maxModelLength: Int) {
        values = Locked(Values(maxModelLength: maxModelLength))
    }

    package var current: Values { values.withLock { $0 } }

    func add(_ body: (inout Values) -> Void) {
        values.withLock { body(&$0) }
    }
}

private let firstTokenBounds = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40,
    80, 160, 640, 2560,
]
private let tokenBounds = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
]
private let requestBounds = [
    0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
]
private let stepBounds = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384].map(
    Double.init)

/// One, two and five times the powers of ten, up to a limit.
private func tokenCountBounds(upTo limit: Int) -> [Double] {
    var bounds: [Double] = []
    var decade = 1
    while true {
        for factor in [1, 2, 5] {
            let bound = decade * factor
            if bound > limit { return bounds }
            bounds.append(Double(bound))
        }
        decade *= 10
    }
}
