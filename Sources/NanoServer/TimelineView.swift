import NanoFlow

/// The answer of `GET /nanoflow/timeline`: what the execution units ran in the last steps.
struct TimelineView: Encodable {
    struct Step: Encodable {
        let nanoBatches: Int
        let tokens: Int

        private enum CodingKeys: String, CodingKey {
            case tokens
            case nanoBatches = "nano_batches"
        }
    }

    struct Event: Encodable {
        let unit: Int
        /// Seconds since the first event.
        let start: Double
        let end: Double
        let step: Int
        let operation: String
        @ExplicitNull var layer: Int?
        let nanoBatch: Int
        let resource: String
        let operations: Double
        let bytes: Double

        private enum CodingKeys: String, CodingKey {
            case unit, start, end, step, operation, layer, resource, operations, bytes
            case nanoBatch = "nano_batch"
        }

        init(_ event: PipelineTrace.Event) {
            unit = event.unit
            start = event.start
            end = event.end
            step = event.step
            operation = event.kind.rawValue
            layer = event.layer
            nanoBatch = event.nanoBatch
            resource = event.kind.resource.rawValue
            operations = event.work.operations
            bytes = event.work.bytes
        }
    }

    static let maxSteps = 16
    /// Events that are told at most: a picture has no room for more, and each costs time to write.
    private static let maxEvents = 8000

    let units: Int
    let durationSeconds: Double
    let steps: [Step]
    let events: [Event]

    private enum CodingKeys: String, CodingKey {
        case units, steps, events
        case durationSeconds = "duration_seconds"
    }

    private static func trace(of engine: Engine, _ lastSteps: Int) -> PipelineTrace {
        PipelineTrace(
            engine.timeline, engine.history, unitCount: engine.settings.threadCount,
            lastSteps: lastSteps)
    }

    init(_ engine: Engine, lastSteps: Int) {
        var trace = Self.trace(of: engine, lastSteps)
        var count = lastSteps
        while trace.events.count > Self.maxEvents, count > 1 {
            count = max(1, count * Self.maxEvents / trace.events.count)
            trace = Self.trace(of: engine, count)
        }
        units = trace.unitCount
        steps = zip(trace.nanoBatchCounts, trace.tokenCounts).map {
            Step(nanoBatches: $0, tokens: $1)
        }
        events = trace.events.map(Event.init)
        durationSeconds = trace.events.map(\.end).max() ?? 0
    }
}
