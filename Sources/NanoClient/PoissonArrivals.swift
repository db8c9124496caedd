import Foundation
import NanoDevice

/// Arrival times of a Poisson process.
package enum PoissonArrivals {
    /// Draws so many arrivals: the first at 0, the others after exponential gaps.
    ///
    /// The gaps, one behind the last arrival included, are scaled to the rate as a whole: what a
    /// Poisson process does in a time in which so many happen to arrive. So no load is above or
    /// below its rate by luck, and loads of equal length differ in nothing but the scale.
    /// - Parameters:
    ///   - count: How many, above 0.
    ///   - rate: Requests a second, above 0; with infinity all arrive at once.
    ///   - seed: Chooses the gaps.
    /// - Returns: Seconds since the load's start, ascending.
    package static func times(count: Int, rate: Double, seed: UInt64) -> [Double] {
        precondition(count > 0 && rate > 0, "Requests that never come make no load.")
        var generator = SplitMix64(seed: seed)
        var ends: [Double] = [0]
        for _ in 0..<count {
            let gap = -log(1 - Double.random(in: 0..<1, using: &generator))
            ends.append(ends[ends.count - 1] + gap)
        }
        let scale = Double(count) / rate / ends[count]
        return ends.dropLast().map { $0 * scale }
    }
}
