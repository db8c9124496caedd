import NanoDevice
package import NanoFlow

/// Runs requests through the scheduler on a virtual clock.
///
/// As in the engine the step after is formed while one runs, and a step's blocks come back when it
/// has completed. Each request ends at its length.
package struct Replay {
    /// A step's shape with how long it took.
    package struct Step: Sendable, Hashable {
        package let shape: BatchShape
        package let seconds: Double
    }

    package private(set) var seconds = 0.0
    package private(set) var steps: [Step] = []
    package private(set) var load = TokenLoad()
    /// By request, in the order of their ends: seconds to the first token, and to the last for each
    /// token of the completion.
    package private(set) var firstTokenSeconds: [Double] = []
    package private(set) var normalizedLatencies: [Double] = []
    package private(set) var preemptionCount = 0

    private var scheduler: Scheduler
    private var active: [SequenceID: Active] = [:]

    private struct Active {
        let outputLength: Int
        var tokenCount = 0
        var firstTokenSeconds = 0.0
    }

    /// - Parameters:
    ///   - requests: All arrive at once; prompts of known length.
    ///   - limits: Of the engine.
    ///   - duration: Seconds of a batch.
    package init(
        _ requests: [Workload.Request], limits: Scheduler.Limits,
        duration: (Batch) -> Double
    ) {
        scheduler = Scheduler(limits)
        for (id, request) in requests.enumerated() {
            let prompt = request.prompt.tokenCount ?? 0
            scheduler.add(
                id, promptCount: prompt, maxTokens: request.outputLength, endsAtLimit: true)
            active[id] = Active(outputLength: request.outputLength)
            load.add(promptTokens: prompt, completionTokens: request.outputLength)
        }
        var inFlight: Batch?
        while true {
            let launched = scheduler.schedule()
            precondition(
                launched != nil || inFlight != nil || scheduler.isIdle,
                "Where nothing runs, the pool has room for the first sequence.")
            if let inFlight { settle(inFlight, duration(inFlight)) }
            inFlight = launched
            guard launched != nil || !scheduler.isIdle else { break }
        }
        preemptionCount = scheduler.preemptionCount
    }

    private mutating func settle(_ batch: Batch, _ duration: Double) {
        seconds += duration
        steps.append(Step(shape: BatchShape(batch), seconds: duration))
        scheduler.complete(step: batch.step)
        for item in batch.items where item.logits == .last {
            guard var request = active[item.sequence] else { continue }
            request.tokenCount += 1
            if request.tokenCount == 1 { request.firstTokenSeconds = seconds }
            active[item.sequence] = request
            guard request.tokenCount == request.outputLength else { continue }
            firstTokenSeconds.append(request.firstTokenSeconds)
            normalizedLatencies.append(seconds / Double(request.outputLength))
            active[item.sequence] = nil
            scheduler.end(item.sequence, completionTokens: request.outputLength)
        }
    }
}
