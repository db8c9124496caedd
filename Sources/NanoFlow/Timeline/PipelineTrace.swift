package import NanoDevice

/// What the execution units have run of late, with what each nano-operation needed.
package struct PipelineTrace: Sendable {
    /// A run of tiles of one nano-operation by one unit.
    package struct Event: Sendable, Hashable {
        package let unit: Int
        /// Seconds since the first event.
        package let start: Double
        package let end: Double
        /// Steps count from 0 in a trace.
        package let step: Int
        package let kind: Operation.Kind
        package let layer: Int?
        package let nanoBatch: Int
        package let tileCount: Int
        /// The tiles' share of what the nano-operation needs.
        package let work: OperationWork

        package var name: String { "\(kind.rawValue).\(nanoBatch)" }
    }

    package let unitCount: Int
    /// By unit, and then by time.
    package let events: [Event]
    /// Nano-batches and tokens of each step.
    package let nanoBatchCounts: [Int]
    package let tokenCounts: [Int]

    /// Reads what the timeline still holds in whole of the last steps that the history knows.
    package init(
        _ timeline: Timeline, _ history: StepHistory, unitCount: Int, lastSteps: Int = .max
    ) {
        self.unitCount = unitCount
        let raw = (0..<unitCount).map { timeline.events(unit: $0) }
        let steps = Self.wholeSteps(history.steps, raw).suffix(lastSteps).map { $0 }
        nanoBatchCounts = steps.map { $0.arranged.graph.layout.nanoBatchCount }
        tokenCounts = steps.map { $0.arranged.graph.layout.rowCount }
        let places = Dictionary(
            uniqueKeysWithValues: steps.enumerated().map { ($1.program, $0) })
        let works = steps.map { step in
            step.arranged.graph.operations.map {
                history.workModel.work(of: $0, in: step.arranged.graph.layout)
            }
        }
        let kept = raw.map { events in events.filter { places[$0.program] != nil } }
        let origin = kept.compactMap(\.first?.start).min() ?? 0
        events = kept.enumerated().flatMap { unit, events in
            events.map { event in
                let step = places[event.program] ?? 0
                let operation = steps[step].arranged.graph.operations[event.operation]
                let tiles = max(1, steps[step].tileCounts[event.operation])
                let share = Double(event.tileCount) / Double(tiles)
                let work = works[step][event.operation]
                return Event(
                    unit: unit, start: Double(event.start - origin) / 1e9,
                    end: Double(event.end - origin) / 1e9, step: step, kind: operation.kind,
                    layer: operation.layer, nanoBatch: operation.nanoBatch,
                    tileCount: event.tileCount,
                    work: OperationWork(
                        operations: share * work.operations, bytes: share * work.bytes))
            }
        }
    }

    /// Those of which no unit's ring has lost the beginning.
    private static func wholeSteps(
        _ steps: [StepHistory.Entry], _ events: [[Timeline.Event]]
    ) -> [StepHistory.Entry] {
        let tiles = events.joined().reduce(into: [UInt32: Int]()) {
            $0[$1.program, default: 0] += $1.tileCount
        }
        return steps.filter { tiles[$0.program] == $0.tileCounts.reduce(0, +) }
    }
}

extension PipelineTrace {
    /// What one layer's picture shows: all that runs from the layer's first tile to its last.
    package struct Excerpt: Sendable {
        package let step: Int
        package let layer: Int
        /// Seconds.
        package let start: Double
        package let end: Double
        /// By unit and time, clipped to the interval.
        package let events: [Event]

        /// Operations and bytes a second.
        package var rates: (operations: Double, bytes: Double) {
            let sum = events.reduce(OperationWork()) { $0 + $1.work }
            return (sum.operations / (end - start), sum.bytes / (end - start))
        }
    }

    /// The middle layer of a step cut the finest: of these the one that reads most beside its
    /// products, or else computes most.
    package var excerpt: Excerpt? {
        let finest = nanoBatchCounts.max() ?? 0
        var work = [OperationWork](repeating: OperationWork(), count: nanoBatchCounts.count)
        for event in events {
            let bytes = event.kind.resource == .memory ? event.work.bytes : 0
            work[event.step] =
                work[event.step] + OperationWork(operations: event.work.operations, bytes: bytes)
        }
        let candidates = nanoBatchCounts.indices.filter { nanoBatchCounts[$0] == finest }
        let fullest = candidates.max {
            (work[$0].bytes, work[$0].operations) < (work[$1].bytes, work[$1].operations)
        }
        guard let step = fullest else { return nil }
        let layers = events.lazy.filter { $0.step == step }.compactMap(\.layer)
        guard let last = layers.max() else { return nil }
        let layer = (last + 1) / 2
        let own = events.filter { $0.step == step && $0.layer == layer }
        guard let start = own.map(\.start).min(), let end = own.map(\.end).max() else { return nil }
        return Excerpt(
            step: step, layer: layer, start: start, end: end,
            events: events.compactMap { $0.clipped(to: start..<end) })
    }
}

extension PipelineTrace.Event {
    /// The part within an interval, with its share of the work; nil: there is none.
    package func clipped(to interval: Range<Double>) -> Self? {
        let (first, last) = (max(start, interval.lowerBound), min(end, interval.upperBound))
        guard last > first else { return nil }
        let share = (last - first) / (end - start)
        return Self(
            unit: unit, start: first, end: last, step: step, kind: kind, layer: layer,
            nanoBatch: nanoBatch, tileCount: tileCount,
            work: OperationWork(operations: share * work.operations, bytes: share * work.bytes))
    }
}
