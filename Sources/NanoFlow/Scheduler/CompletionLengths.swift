import Foundation

/// The lengths of the completions that ended of late, for guesses at how long others will be.
package struct CompletionLengths: Sendable {
    /// Completions that count.
    package static let capacity = 1024
    /// So many that were longer than what a completion has come to must there be for a guess.
    package static let leastCount = 16

    private var arrived: [Int] = []
    private var oldest = 0
    private var sorted: [Int] = []

    package init() {}

    /// Notes a completion's tokens.
    package mutating func add(_ length: Int) {
        if arrived.count < Self.capacity {
            arrived.append(length)
        } else {
            sorted.remove(at: place(of: arrived[oldest]))
            arrived[oldest] = length
            oldest = (oldest + 1) % Self.capacity
        }
        sorted.insert(length, at: place(of: length))
    }

    /// The length that the share `rank` (0..<1) of those that were longer than `count` stayed below;
    /// nil: too few were.
    package func quantile(_ rank: Double, longerThan count: Int) -> Int? {
        let first = place(of: count + 1)
        let longer = sorted.count - first
        guard longer >= Self.leastCount else { return nil }
        return sorted[first + min(longer - 1, Int(rank * Double(longer)))]
    }

    /// Where the first length of at least `length` stands.
    private func place(of length: Int) -> Int {
        var range = 0..<sorted.count
        while !range.isEmpty {
            let middle = (range.lowerBound + range.upperBound) / 2
            if sorted[middle] < length {
                range = middle + 1..<range.upperBound
            } else {
                range = range.lowerBound..<middle
            }
        }
        return range.lowerBound
    }

    /// Where in the distribution a sequence is assumed to end, among `count` that run.
    ///
    /// The ranks of different sequences are spread evenly, so that their sum is that of a typical draw
    /// rather than of one where all are long; and they leave out the low end, so that the sum lies two
    /// of its standard deviations above its mean, for lengths that scatter like those of an exponential
    /// distribution: the part above the share a has a mean of 1 - ln(1 - a), and that is to be
    /// 1 + 2 / sqrt(count).
    package static func rank(of id: SequenceID, among count: Int) -> Double {
        let lowest = 1 - exp(-2 / Double(max(1, count)).squareRoot())
        // Multiples of the golden ratio fall evenly between whole numbers.
        let spread = (Double(id) * 0.618_033_988_749_895).truncatingRemainder(dividingBy: 1)
        return lowest + (1 - lowest) * spread
    }
}
