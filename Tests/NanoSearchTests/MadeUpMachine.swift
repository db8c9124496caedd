import NanoDevice
import NanoFlow
import NanoSearch
import NanoTestSupport

/// A device of known times: products read their weights and compute, attention reads blocks.
struct KnownDevice: DeviceModel {
    let handoverSeconds = 1e-6
    /// For a block of 64 positions that a decode reads.
    var secondsPerBlock = 4e-6
    /// What co-issue does to products and to reading while both run.
    var together = CoIssue(product: 1.1, memory: 0.5)
    /// What a nano-batch of any size costs in each product: its weights are read once more.
    var secondsPerProduct = 20e-6

    func seconds(of operation: NanoOperation, in layout: BatchLayout) -> Double {
        let rows = Double(
            operation.kind.isOnLogitRows ? operation.logitRows.count : operation.rows.count)
        switch operation.kind {
        case .decodeAttention:
            var (sequences, blocks) = (0.0, 0.0)
            for run in layout.runs
            where run.isDecode && !run.rows.clamped(to: operation.rows).isEmpty {
                sequences += 1
                blocks += Double((run.positions.upperBound - 1) / 64 + 1)
            }
            return 1e-6 * sequences + secondsPerBlock * blocks
        case .prefillAttention:
            var (rows, positions) = (0.0, 0.0)
            for run in layout.runs where !run.isDecode {
                let own = run.rows.clamped(to: operation.rows)
                let first = run.positions.lowerBound + own.lowerBound - run.firstRow + 1
                rows += Double(own.count)
                positions += Double((2 * first + own.count - 1) * own.count) / 2
            }
            return 0.5e-6 * rows + 2e-9 * positions
        case .qkvProjection, .outputProjection, .gateUpProjection, .downProjection:
            return secondsPerProduct + 3e-6 * rows
        case .lmHead: return 100e-6 + 10e-6 * rows
        default: return 0.2e-6 * rows
        }
    }

    func speed(of resource: ResourceClass, share: Double) -> Double { share }

    func coIssue(rate: Double, reading: Double) -> CoIssue { together }
}

/// Runs steps on a ``KnownDevice`` whose speed drifts and which is disturbed now and then, on a
/// virtual clock.
final class MadeUpMachine: StepRunner {
    let device: KnownDevice
    private var random: SeededGenerator
    /// What everything takes now, as a multiple.
    private var slowness = 1.0
    /// How far runs of one step lie apart.
    private let noise: Double
    private(set) var seconds = 0.0
    private(set) var runCount = 0

    init(_ device: KnownDevice = KnownDevice(), seed: UInt64, noise: Double = 0.02) {
        (self.device, self.noise) = (device, noise)
        random = SeededGenerator(seed: seed)
    }

    func run(
        _ batch: Batch, _ plan: PipelinePlan, layerCount: Int, units: Int?
    ) -> StepTimes? {
        let graph = OperationGraph.decoder(layerCount: layerCount)
        let layout = BatchLayout(batch, shares: plan.nanoBatches, alignment: 64)
        let nanoGraph = graph.split(
            into: NanoBatches(layout, whole: plan.whole), blockSize: 64)
        guard let arranged = ArrangedPlan(plan, nanoGraph, layerCount: layerCount) else {
            return nil
        }
        let rate = plan.units[0].prefetchRate
        var kinds: [NanoFlow.Operation.Kind: Double] = [:]
        for operation in nanoGraph.operations {
            kinds[operation.kind, default: 0] +=
                device.seconds(of: operation, in: layout) * factor(operation.kind, rate: rate)
        }
        let time = StepSimulation.run(arranged, on: device).seconds
        var times = StepTimes(
            kinds: kinds, waitingSeconds: max(0, time - kinds.sum()))
        times.seconds = time
        slowness *= 1 + Double.random(in: -0.03...0.03, using: &random)
        slowness = min(1.5, max(0.8, slowness))
        let isDisturbed = Int.random(in: 0..<20, using: &random) == 0
        let luck = 1 + Double.random(in: -noise...noise, using: &random)
        // On one of two units all takes twice as long but reading.
        if units == 1 {
            times.kinds = times.kinds.reduce(into: [:]) {
                $0[$1.key] = $1.value * ($1.key.resource == .memory ? 1.25 : 2)
            }
        }
        let result = times.scaled(by: slowness * luck * (isDisturbed ? 1.5 : 1))
        seconds += result.seconds
        runCount += 1
        return result
    }

    /// What a kind takes over a whole step with co-issue, as a multiple of its time alone.
    private func factor(_ kind: NanoFlow.Operation.Kind, rate: Double) -> Double {
        guard rate > 0 else { return 1 }
        if kind.isProduct { return 1 + (device.together.product - 1) * min(1, 1 / rate) }
        guard kind.resource == .memory else { return 1 }
        return rate < 1 ? rate * device.together.memory + 1 - rate : device.together.memory
    }
}

extension Scheduler.Limits {
    /// Room for what the tests of tuning need.
    static let tuning = Scheduler.Limits(
        sequences: 128, batchedTokens: 256, logitRows: 128, blockSize: 64, blockCount: 4096,
        sequenceLength: 2048)
}
