import NanoDevice

/// Where a step's time went.
package struct StepTimes: Codable, Sendable, Hashable {
    /// From the first operation to the last one's end.
    package var seconds: Double
    /// By kind of operation, all layers together: seconds a unit on average.
    package var kinds: [Operation.Kind: Double]
    /// Seconds a unit on average in which it had nothing to do.
    package var waitingSeconds: Double

    package init(kinds: [Operation.Kind: Double], waitingSeconds: Double) {
        (self.kinds, self.waitingSeconds) = (kinds, waitingSeconds)
        seconds = waitingSeconds
        seconds += self.seconds { _ in true }
    }

    /// Of some kinds together.
    package func seconds(_ isWanted: (Operation.Kind) -> Bool) -> Double {
        kinds.sum(isWanted)
    }
}

extension [Operation.Kind: Double] {
    /// The sum over some kinds, in the kinds' own order: the same to the last bit each time.
    package func sum(_ isWanted: (Operation.Kind) -> Bool = { _ in true }) -> Double {
        Operation.Kind.allCases.reduce(0) { $0 + (isWanted($1) ? self[$1] ?? 0 : 0) }
    }
}

/// Runs steps that are made up.
package protocol StepRunner {
    /// Runs the batch with so many of the model's layers on so many units, or on all; nil where the
    /// plan would come to a standstill on it.
    mutating func run(
        _ batch: Batch, _ plan: PipelinePlan, layerCount: Int, units: Int?
    ) -> StepTimes?
}

/// Runs made-up steps on a pipeline that serves nobody, and says how long they take.
///
/// Every slot has a sequence of the longest length, so that any positions can be computed. Their
/// blocks lie scattered over a part of the cache that no last-level cache holds.
package struct StepBench: StepRunner {
    private let loaded: LoadedModel
    private let limits: Scheduler.Limits

    /// Bytes of the cache that made-up sequences lie in.
    private static let cacheByteCount = 512 << 20

    /// Takes the pipeline over; it must be idle, and what its cache holds is lost.
    package init(_ loaded: LoadedModel, limits: Scheduler.Limits) {
        (self.loaded, self.limits) = (loaded, limits)
        let cache = loaded.kvArena
        let count = min(
            limits.blockCount, max(1, Self.cacheByteCount / cache.wholeBlockByteCount))
        cache.fill(blockCount: count)
        var generator = SplitMix64(seed: 0)
        let blocks = (0..<Int32(count)).shuffled(using: &generator)
        let greedy = SlotSampling(
            SamplingParameters(temperature: 0), seed: 0, promptCount: limits.sequenceLength)
        let prompt = [Int32](repeating: 0, count: limits.sequenceLength)
        let blocksPerSequence = limits.blocks(for: limits.sequenceLength)
        let tables = loaded.pipeline.tables
        for slot in 0..<limits.sequences {
            tables.begin(slot: slot, prompt: prompt, sampling: greedy)
            // A sequence of the longest length may have blocks twice; what is read of it has not.
            let first = Int.random(in: 0..<count, using: &generator)
            let own = (0..<blocksPerSequence).map { blocks[(first + $0) % count] }
            tables.setBlocks(slot: slot, from: 0, own[...])
        }
    }

    package func run(
        _ batch: Batch, _ plan: PipelinePlan, layerCount: Int, units: Int? = nil
    ) -> StepTimes? {
        precondition(
            batch.tokenCount <= limits.batchedTokens
                && batch.items.allSatisfy {
                    $0.slot < limits.sequences && $0.positions.upperBound < limits.sequenceLength
                },
            "A made-up step must fit the engine.")
        let graph = OperationGraph.decoder(layerCount: layerCount)
        let own = batch.withoutBlocks
        let layout = BatchLayout(own, shares: plan.nanoBatches, alignment: KVArena.blockSize)
        let nanoGraph = graph.split(
            into: NanoBatches(layout, whole: plan.whole), blockSize: KVArena.blockSize)
        guard var arranged = ArrangedPlan(plan, nanoGraph, layerCount: layerCount) else {
            return nil
        }
        arranged.unitLimit = units
        let before = OperationTimes(loaded.unitTimes)
        loaded.pipeline.wait(for: loaded.pipeline.launch(own, arranged))
        loaded.pipeline.waitUntilIdle()
        let times = OperationTimes(loaded.unitTimes) - before
        // Seconds a unit on average, of those that took part.
        let scale = Double(times.unitCount) / Double(min(units ?? .max, times.unitCount))
        return StepTimes(
            kinds: Dictionary(
                uniqueKeysWithValues: times.entries.map { ($0.kind, $0.seconds * scale) }),
            waitingSeconds: times.waitingSeconds * scale)
    }

    /// What the units did in the step that ran last; nil: it was too long for the timeline.
    package func lastTrace(unitCount: Int) -> PipelineTrace? {
        let trace = PipelineTrace(
            loaded.timeline, loaded.history, unitCount: unitCount, lastSteps: 1)
        return trace.events.isEmpty ? nil : trace
    }
}

extension Batch {
    /// The same with block tables left as they are.
    fileprivate var withoutBlocks: Batch {
        let items = items.map {
            Item(
                sequence: $0.sequence, slot: $0.slot, positions: $0.positions, logits: $0.logits,
                firstNewBlock: 0, newBlocks: [])
        }
        return Batch(step: step, items: items)
    }
}
