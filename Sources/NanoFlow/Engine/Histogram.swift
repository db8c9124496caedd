/// How often values fell between bounds, as Prometheus counts them.
package struct Histogram: Sendable, Hashable {
    /// Ascending upper bounds; values above the last one count in `count` alone.
    package let bounds: [Double]
    /// Values at most as large as the bound, and above the one before it.
    package private(set) var counts: [Int]
    package private(set) var count = 0
    package private(set) var sum = 0.0

    package init(_ bounds: [Double]) {
        self.bounds = bounds
        counts = [Int](repeating: 0, count: bounds.count)
    }

    package mutating func add(_ value: Double) {
        count += 1
        sum += value
        if let index = bounds.firstIndex(where: { value <= $0 }) { counts[index] += 1 }
    }
}
