package import NanoFlow

/// What the simulation of a step needs to know of a device.
package protocol DeviceModel: Sendable {
    /// Seconds from the end of an operation to the beginning of one that waits for it: launch, and
    /// units that wait for the last tile.
    var handoverSeconds: Double { get }

    /// Seconds of a nano-operation alone on the whole device.
    func seconds(of operation: NanoOperation, in layout: BatchLayout) -> Double

    /// The speed of an operation on a share of the device beside one that is bound by another
    /// resource, as a part of its speed alone: P(R) of Zhu et al., NanoFlow, 2024.
    func speed(of resource: ResourceClass, share: Double) -> Double

    /// What co-issue at a prefetch rate does.
    ///
    /// - Parameters:
    ///   - rate: As ``PipelinePlan/Share/prefetchRate``.
    ///   - reading: Seconds alone of what is read for each second alone of the products.
    /// - Returns: What both take while they run beside each other.
    func coIssue(rate: Double, reading: Double) -> CoIssue
}

/// Products and memory-bound operations interleaved on the same units, as multiples of their times
/// alone: memory below 1, since what it reads has been asked for.
package struct CoIssue: Codable, Sendable, Hashable {
    package var product: Double
    package var memory: Double

    package init(product: Double, memory: Double) {
        (self.product, self.memory) = (product, memory)
    }
}
