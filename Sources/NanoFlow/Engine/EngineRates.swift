import NanoDevice
package import NanoModel

/// How fast the engine has been over the last ten seconds, beside what the machine does at most.
package struct EngineRates: Sendable, Hashable {
    /// Positions computed a second.
    package let tokensPerSecond: Double
    /// Share of the optimum: the matrix products that the tokens need, at the peak, in the time of the
    /// window; nil where the peak has not been measured.
    package let optimalRatio: Double?
    /// Shares of the peak and of the read bandwidth, attention and weights included.
    package let arithmetic: Double?
    package let memory: Double?

    init(
        _ load: StepLoad, _ work: ModelWork, sizes: Attainable.Sizes,
        roofs: PipelineDrawing.Roofs?
    ) {
        tokensPerSecond = Double(load.tokens) / LoadWindow.seconds
        guard let roofs else {
            (optimalRatio, arithmetic, memory) = (nil, nil, nil)
            return
        }
        let products =
            2 * Double(work.layerParameters) * Double(load.tokens)
            + 2 * Double(work.headParameters) * Double(load.logitRows)
        let attention = Double(work.attentionOperations) * load.attendedPositions
        let weights =
            Double(work.layerParameters) * Double(load.steps)
            + Double(work.headParameters) * Double(load.logitSteps)
        let cache = sizes.cachedToken * Double(load.contextTokens + load.tokens)
        optimalRatio = products / roofs.operations / LoadWindow.seconds
        arithmetic = (products + attention) / roofs.operations / LoadWindow.seconds
        memory =
            (weights * Double(sizes.parameter) + cache) / roofs.bytes / LoadWindow.seconds
    }
}

extension Engine {
    /// Measures what the machine does at most, for ``rates``; the engine must be idle.
    package func measureRoofs() {
        monitor.setRoofs(PipelineDrawing.Roofs(measuredWith: settings))
    }

    /// How fast the engine has been of late.
    package var rates: EngineRates {
        EngineRates(
            monitor.load(now: monotonicNanoseconds()), ModelWork(model),
            sizes: settings.sizes(model), roofs: monitor.roofs)
    }
}

extension EngineSettings {
    /// Bytes that the memory traffic of a run is counted in.
    package func sizes(_ model: ModelConfiguration) -> Attainable.Sizes {
        let block = KVArena.blockByteCount(
            layers: model.layerCount, kvHeads: model.kvHeadCount,
            headDimension: model.headDimension, type: kvPrecision.kernelType)
        return Attainable.Sizes(
            parameter: format.elementByteCount,
            cachedToken: Double(block) / Double(KVArena.blockSize))
    }
}
