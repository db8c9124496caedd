import NanoDevice
package import NanoFlow
package import NanoModel

/// A device that nobody has at hand, from published figures.
///
/// A nano-operation takes as long as the resource that it needs most, at a share of that resource's
/// peak that is known for its kind, and a fixed time.
package struct DescribedDevice: Sendable, Hashable {
    package let name: String
    package let title: String
    /// Devices that share each matrix.
    package let count: Int
    /// Of one device: operations a second at the precision of the weights.
    package let peak: Double
    /// Of the peak, what products of any shape reach when measured; the optimum counts with it.
    package let measuredPeakRatio: Double
    /// Of one device: bytes a second from memory, and to the other devices.
    package let memoryBandwidth: Double
    package let networkBandwidth: Double
    /// Of one device: bytes.
    package let memory: Double
    /// Bytes of a parameter, and of a number in the KV cache.
    package let parameterByteCount: Int
    package let cachedByteCount: Int
    /// Of the resource that bounds an operation, the share it reaches; kinds that are not named take
    /// no time.
    package let efficiencies: [NanoFlow.Operation.Kind: Double]
    /// Seconds of every nano-operation beside its work: launch, waves that are not full.
    package let fixedSeconds: Double
    /// P(R) at R = 0.1, 0.2, ...; beyond, the last value holds.
    package let memoryPerformance: [Double]
    package let networkPerformance: [Double]
    /// Where the figures come from.
    package let source: String
}

/// A described device with a model on it.
package struct SimulatedDevice: DeviceModel {
    package let device: DescribedDevice
    package let model: ModelConfiguration
    private let work: WorkModel

    package init(_ device: DescribedDevice, _ model: ModelConfiguration) {
        (self.device, self.model) = (device, model)
        work = WorkModel(
            model,
            blockByteCount: 2 * KVArena.blockSize * model.headDimension * device.cachedByteCount,
            parameterByteCount: device.parameterByteCount,
            embeddingByteCount: model.hiddenSize * device.parameterByteCount)
    }

    /// The model's operations with so many layers.
    package func graph(layerCount: Int) -> OperationGraph {
        device.count > 1
            ? .tensorParallelDecoder(layerCount: layerCount) : .decoder(layerCount: layerCount)
    }

    /// Tokens of keys and values for which the devices have room: 90 % of their memory holds them
    /// and the weights.
    package var cachedTokenCount: Int {
        let parameters = ModelWork(model)
        let weights = Double(
            (parameters.layerParameters + 2 * parameters.headParameters)
                * device.parameterByteCount)
        let token = Double(
            2 * model.layerCount * model.kvHeadCount * model.headDimension
                * device.cachedByteCount)
        return Int((0.9 * device.memory * Double(device.count) - weights) / token)
    }

    // MARK: - DeviceModel

    /// Part of each operation's fixed time.
    package var handoverSeconds: Double { 0 }

    package func seconds(of operation: NanoOperation, in layout: BatchLayout) -> Double {
        guard let efficiency = device.efficiencies[operation.kind] else { return 0 }
        let work = work.work(of: operation, in: layout)
        let devices = Double(device.count)
        // A ring: every device sends and receives all numbers twice, but for its own part.
        let sent =
            2 * (devices - 1) * work.reducedValues * Double(device.cachedByteCount)
        let bound = max(
            work.operations / devices / device.peak,
            work.bytes / devices / device.memoryBandwidth,
            sent / devices / device.networkBandwidth)
        return bound / efficiency + device.fixedSeconds
    }

    package func speed(of resource: ResourceClass, share: Double) -> Double {
        switch resource {
        case .compute: share
        case .memory: Self.value(of: device.memoryPerformance, at: share)
        case .network: Self.value(of: device.networkPerformance, at: share)
        }
    }

    /// These devices overlap by shares only.
    package func coIssue(rate: Double, reading: Double) -> CoIssue {
        CoIssue(product: 1, memory: 1)
    }

    private static func value(of table: [Double], at share: Double) -> Double {
        let place = share * 10
        let lower = min(Int(place), table.count)
        let below = lower == 0 ? 0 : table[lower - 1]
        let above = lower < table.count ? table[lower] : below
        return below + (above - below) * (place - Double(lower))
    }
}
