/// A set of row numbers as ascending runs that do not touch.
package struct RowSet: Sendable, Hashable {
    package private(set) var ranges: [Range<Int>] = []

    package init(_ range: Range<Int>) {
        if !range.isEmpty { ranges = [range] }
    }

    /// Of ascending numbers.
    package init(ascending rows: some Sequence<Int>) {
        for row in rows { append(row..<row + 1) }
    }

    package init() {}

    /// Adds a run that begins where the set ends, or later.
    package mutating func append(_ range: Range<Int>) {
        guard !range.isEmpty else { return }
        if let last = ranges.last, last.upperBound == range.lowerBound {
            ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
        } else {
            precondition(
                ranges.last.map { $0.upperBound < range.lowerBound } ?? true,
                "Runs must be added in ascending order.")
            ranges.append(range)
        }
    }

    package var isEmpty: Bool { ranges.isEmpty }

    package func intersects(_ other: RowSet) -> Bool {
        var (i, j) = (0, 0)
        while i < ranges.count, j < other.ranges.count {
            if ranges[i].overlaps(other.ranges[j]) { return true }
            if ranges[i].upperBound <= other.ranges[j].upperBound { i += 1 } else { j += 1 }
        }
        return false
    }

    package func isSubset(of other: RowSet) -> Bool {
        var j = 0
        for range in ranges {
            while j < other.ranges.count, other.ranges[j].upperBound < range.upperBound { j += 1 }
            guard j < other.ranges.count, other.ranges[j].lowerBound <= range.lowerBound else {
                return false
            }
        }
        return true
    }

    package func intersection(_ range: Range<Int>) -> RowSet {
        var result = RowSet()
        for mine in ranges { result.append(mine.clamped(to: range)) }
        return result
    }
}
