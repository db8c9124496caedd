package import NanoFlow

/// Classes of batch shapes: a plan is searched for one batch of each.
package struct ShapeClasses {
    /// Steps of one class.
    package struct Entry: Sendable {
        package let shape: PlanTable.ShapeClass
        /// The step of median length.
        package let batch: Batch
        /// Of all steps of the class.
        package let seconds: Double
    }

    private struct Key: Hashable, Comparable {
        let decodes: Int
        let prefill: Int
        let context: Int

        static func < (a: Key, b: Key) -> Bool {
            (a.decodes, a.prefill, a.context) < (b.decodes, b.prefill, b.context)
        }
    }

    /// Classes end at these numbers, which belong to the next one.
    private static let decodeEdges = [1, 16, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 1536]
    private static let prefillEdges = [1, 64, 256, 512, 1024, 1536]
    private static let contextEdges = [128, 256, 512, 768, 1024, 1536, 2048, 4096]

    private var steps: [Key: [(batch: Batch, seconds: Double)]] = [:]

    package init() {}

    /// Of all steps.
    package var seconds: Double {
        steps.sorted { $0.key < $1.key }.reduce(0) { $0 + $1.value.reduce(0) { $0 + $1.seconds } }
    }

    package mutating func add(_ batch: Batch, seconds: Double) {
        let shape = BatchShape(batch)
        let key = Key(
            decodes: Self.index(shape.decodeTokens, Self.decodeEdges),
            prefill: Self.index(shape.prefillTokens, Self.prefillEdges),
            context: Self.index(shape.meanContext, Self.contextEdges))
        steps[key, default: []].append((batch, seconds))
    }

    /// The classes that take most of the time, the longest first.
    ///
    /// - Parameters:
    ///   - count: Classes at most.
    ///   - share: Of all the time, what a class must take; the longest is there in any case.
    /// - Returns: Each class with one of its batches.
    package func entries(count: Int, share: Double) -> [Entry] {
        let entries = steps.sorted { $0.key < $1.key }.map { key, steps -> Entry in
            let sorted = steps.sorted { ($0.seconds, $0.batch.step) < ($1.seconds, $1.batch.step) }
            return Entry(
                shape: Self.shape(key), batch: sorted[sorted.count / 2].batch,
                seconds: steps.reduce(0) { $0 + $1.seconds })
        }
        let all = entries.reduce(0) { $0 + $1.seconds }
        let longest = entries.sorted { $0.seconds > $1.seconds }
        let kept = longest.prefix(count).filter { $0.seconds >= share * all }
        return kept.isEmpty ? Array(longest.prefix(1)) : kept
    }

    private static func index(_ value: Int, _ edges: [Int]) -> Int {
        edges.firstIndex { value < $0 } ?? edges.count
    }

    private static func shape(_ key: Key) -> PlanTable.ShapeClass {
        func bounds(_ index: Int, _ edges: [Int]) -> (lower: Int?, upper: Int?) {
            (index == 0 ? nil : edges[index - 1], index == edges.count ? nil : edges[index] - 1)
        }
        var shape = PlanTable.ShapeClass()
        (shape.minDecodeTokens, shape.maxDecodeTokens) = bounds(key.decodes, decodeEdges)
        (shape.minPrefillTokens, shape.maxPrefillTokens) = bounds(key.prefill, prefillEdges)
        (shape.minMeanContext, shape.maxMeanContext) = bounds(key.context, contextEdges)
        return shape
    }
}
