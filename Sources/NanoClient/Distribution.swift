/// What is reported of many values.
package struct Distribution: Sendable, Hashable, Encodable {
    package let mean: Double
    package let median: Double
    package let p99: Double

    /// nil where there are no values.
    package init?(_ values: [Double]) {
        guard !values.isEmpty else { return nil }
        let sorted = values.sorted()
        mean = sorted.reduce(0, +) / Double(sorted.count)
        median = Self.percentile(50, of: sorted)
        p99 = Self.percentile(99, of: sorted)
    }

    /// A percentile, interpolated between the two nearest ranks: numpy's default, which
    /// `vllm bench serve` uses.
    ///
    /// - Parameters:
    ///   - percent: 0 to 100.
    ///   - sorted: At least one value, ascending.
    /// - Returns: The value below which `percent` of 100 lie.
    package static func percentile(_ percent: Double, of sorted: [Double]) -> Double {
        precondition(!sorted.isEmpty, "No value has no percentile.")
        let rank = percent / 100 * Double(sorted.count - 1)
        let below = Int(rank)
        let above = min(below + 1, sorted.count - 1)
        return sorted[below] + (sorted[above] - sorted[below]) * (rank - Double(below))
    }
}
