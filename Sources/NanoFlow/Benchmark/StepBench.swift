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
/// Every slot has a sequence of the longest length, so that any positions can be computed. What a
/// step writes lies in blocks of their own; what it reads lies scattered over a part of the cache
/// that no last-level cache holds, and may be shared.
package struct StepBench: StepRunner {
    private let loaded: LoadedModel
    private let limits: Scheduler.Limits
    /// In no order.
    private let blocks: [Int32]

    /// Bytes of the cache that made-up sequences lie in, where that is enough.
    private static let cacheByteCount = 512 << 20
    /// Blocks that are only read, at least.
    private static let readCount = 64

    /// Takes the pipeline over; it must be idle, and what its cache holds is lost.
    package init(_ loaded: LoadedModel, limits: Scheduler.Limits) {
        (self.loaded, self.limits) = (loaded, limits)
        let cache = loaded.kvArena
        let mostWritten = limits.batchedTokens / limits.blockSize + 2 * limits.sequences
        let count = min(
            limits.blockCount,
            max(mostWritten + Self.readCount, Self.cacheByteCount / cache.wholeBlockByteCount))
        cache.fill(blockCount: count)
        var generator = SplitMix64(seed: 0)
        blocks = (0..<Int32(count)).shuffled(using: &generator)
        let greedy = SlotSampling(
            SamplingParameters(temperature: 0), seed: 0, promptCount: limits.sequenceLength)
        let prompt = [Int32](repeating: 0, count: limits.sequenceLength)
        for slot in 0..<limits.sequences {
            loaded.pipeline.tables.begin(slot: slot, prompt: prompt, sampling: greedy)
        }
    }

    package func run(
        _ batch: Batch, _ plan: PipelinePlan, layerCount: Int, units: Int? = nil
    ) -> StepTimes? {
        let own = placed(batch)
        let graph = OperationGraph.decoder(layerCount: layerCount)
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

    /// The batch with blocks: no two sequences write to one, and none reads what another writes.
    private func placed(_ batch: Batch) -> Batch {
        precondition(
            batch.tokenCount <= limits.batchedTokens
                && batch.items.allSatisfy {
                    $0.slot < limits.sequences && $0.positions.upperBound < limits.sequenceLength
                },
            "A made-up step must fit the engine.")
        let writtenCount = batch.items.reduce(0) { $0 + blocksWritten(by: $1).count }
        let (toWrite, toRead) = (blocks[..<writtenCount], blocks[writtenCount...])
        var (written, read) = (toWrite.startIndex, 0)
        let items = batch.items.map { item in
            let own = blocksWritten(by: item)
            var table: [Int32] = []
            for _ in 0..<own.lowerBound {
                precondition(!toRead.isEmpty, "The cache must hold what a made-up step reads.")
                table.append(toRead[toRead.startIndex + read % toRead.count])
                read += 1
            }
            table += toWrite[written..<written + own.count]
            written += own.count
            return Batch.Item(
                sequence: item.sequence, slot: item.slot, positions: item.positions,
                logits: item.logits, firstNewBlock: 0, newBlocks: table[...])
        }
        return Batch(step: batch.step, items: items)
    }

    /// The blocks of its sequence that an item writes to.
    private func blocksWritten(by item: Batch.Item) -> Range<Int> {
        let end = limits.blocks(for: item.positions.upperBound)
        return item.positions.lowerBound / limits.blockSize..<end
    }

    /// What the units did in the step that ran last; nil: it was too long for the timeline.
    package func lastTrace(unitCount: Int) -> PipelineTrace? {
        let trace = PipelineTrace(
            loaded.timeline, loaded.history, unitCount: unitCount, lastSteps: 1)
        return trace.events.isEmpty ? nil : trace
    }
}
