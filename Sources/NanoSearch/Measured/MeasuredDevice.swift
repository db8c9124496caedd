import NanoDevice
package import NanoFlow

/// This machine with a model, from a profile.
package struct MeasuredDevice: DeviceModel {
    /// Seconds of one operation by its rows, or by its rows that go through the LM head.
    private var curves: [NanoFlow.Operation.Kind: Curve] = [:]
    /// By sequences and blocks of the cache that are read.
    private var decodeAttention = TwoPartTime([])
    /// By rows and positions that they attend to.
    private var prefillAttention = TwoPartTime([])
    private var handover = 0.0
    /// What units wait for the last tiles of operations, as a part of the operations' time.
    private var waitingShare = 0.0
    /// By rate and how much is read beside the products.
    package private(set) var coIssues: [Interference] = []
    /// What operations take on a share of the units beside others, as multiples of their unit
    /// seconds alone.
    package private(set) var shares: [Interference] = []
    /// Operations alone on fewer units, those on the fewest first.
    package private(set) var fewerUnits: [OnFewerUnits] = []
    /// What the reference takes now.
    package var referenceSeconds = 1.0

    /// What operations did to each other in one step of the profile.
    package struct Interference: Sendable, Hashable {
        package let sharing: SearchSpace.Sharing
        /// Seconds alone of what is read for each second alone of the products.
        package let reading: Double
        package let factors: CoIssue
    }

    /// How fast operations are on some of the units, with nothing beside them.
    package struct OnFewerUnits: Sendable, Hashable {
        package let units: Int
        /// Of the speed on all units.
        package let product: Double
        package let memory: Double

        fileprivate init(_ units: Int, _ some: StepTimes, _ all: StepTimes) {
            let speed = { (isWanted: (NanoFlow.Operation.Kind) -> Bool) in
                all.seconds(isWanted) / some.seconds(isWanted)
            }
            self.units = units
            (product, memory) = (speed(\.isProduct), speed { $0.resource == .memory })
        }
    }

    /// - Parameter profile: Of the machine; steps that it lacks are left out.
    package init(_ profile: MachineProfile) {
        fitTimesAlone(profile)
        for measurement in profile.measurements {
            if let units = measurement.step.units, let all = profile[measurement.step.onAllUnits] {
                fewerUnits.append(OnFewerUnits(units, measurement.median, all.median))
            }
            guard let sharing = measurement.step.sharing else { continue }
            let found = interference(measurement, sharing, layerCount: profile.layerCount)
            if sharing.prefetchRate > 0 { coIssues.append(found) } else { shares.append(found) }
        }
        fewerUnits.sort { $0.units < $1.units }
    }

    /// From the steps in sequence on all units.
    private mutating func fitTimesAlone(_ profile: MachineProfile) {
        let steps = profile.measurements.filter { $0.step.sharing == nil && $0.step.units == nil }
        var values: [NanoFlow.Operation.Kind: [Double: [Double]]] = [:]
        var decodes: [(x: Double, y: Double, seconds: Double)] = []
        var prefills = decodes
        var waits = decodes
        for measurement in steps {
            let times = measurement.median
            let graph = measurement.step.nanoGraph(layerCount: profile.layerCount)
            for (kind, seconds) in times.kinds {
                guard let operation = graph.operations.first(where: { $0.kind == kind }) else {
                    continue
                }
                let one = operation.layer == nil ? seconds : seconds / Double(profile.layerCount)
                let work = AttentionWork(of: operation, in: graph.layout)
                switch kind {
                case .decodeAttention:
                    decodes.append((work.rows, work.blocks, one))
                case .prefillAttention:
                    prefills.append((work.rows, work.positions, one))
                default:
                    values[kind, default: [:]][Self.rowCount(operation), default: []].append(one)
                }
            }
            waits.append(
                (
                    Double(graph.operations.count), times.kinds.sum(), times.waitingSeconds
                ))
        }
        curves = values.mapValues { Curve($0) }
        decodeAttention = TwoPartTime(decodes)
        prefillAttention = TwoPartTime(prefills)
        let waiting = TwoPartTime(waits)
        (handover, waitingShare) = (waiting.perX, waiting.perY)
    }

    /// What the kinds of an overlapped step took, over what they take alone.
    private func interference(
        _ measurement: MachineProfile.Measurement, _ sharing: SearchSpace.Sharing, layerCount: Int
    ) -> Interference {
        let graph = measurement.step.nanoGraph(layerCount: layerCount)
        var (product, memory) = (0.0, 0.0)
        for operation in graph.operations {
            let seconds = unitSeconds(of: operation, in: graph.layout)
            if operation.kind.isProduct { product += seconds }
            if operation.kind.resource == .memory { memory += seconds }
        }
        let times = measurement.median
        return Interference(
            sharing: sharing, reading: product > 0 ? memory / product : 0,
            factors: Self.whileTogether(
                CoIssue(
                    product: product > 0 ? times.seconds(\.isProduct) / product : 1,
                    memory: memory > 0 ? times.seconds { $0.resource == .memory } / memory : 1),
                rate: sharing.prefetchRate))
    }

    /// The factors while both run, from those of a whole step: above a rate of 1 products run alone
    /// once all has been read; below, a part is read alone behind them.
    private static func whileTogether(_ whole: CoIssue, rate: Double) -> CoIssue {
        guard rate > 0 else { return whole }
        return CoIssue(
            // However disturbed a measurement was, products take time.
            product: max(0.5, 1 + (whole.product - 1) * max(1, rate)),
            memory: rate < 1 ? max(0, whole.memory - (1 - rate)) / rate : whole.memory)
    }

    /// Whether every kind of operation that the steps have has a time.
    package func isComplete(for steps: [ProfileCase]) -> Bool {
        let hasPrefill = steps.contains { !$0.chunks.isEmpty }
        return !curves.isEmpty && decodeAttention != TwoPartTime([])
            && (!hasPrefill || prefillAttention != TwoPartTime([]))
    }

    /// Seconds of one operation alone, by its rows: where it was measured.
    package func measuredSeconds(
        _ kind: NanoFlow.Operation.Kind
    ) -> [(rows: Double, seconds: Double)] {
        curves[kind]?.points.map { ($0.place, $0.value * referenceSeconds) } ?? []
    }

    /// Seconds of decode attention in one layer, for each sequence and for each block that it reads.
    package var decodeSeconds: (perSequence: Double, perBlock: Double) {
        (decodeAttention.perX * referenceSeconds, decodeAttention.perY * referenceSeconds)
    }

    // MARK: - DeviceModel

    package var handoverSeconds: Double { handover * referenceSeconds }

    package func seconds(of operation: NanoOperation, in layout: BatchLayout) -> Double {
        unitSeconds(of: operation, in: layout) * (1 + waitingShare) * referenceSeconds
    }

    /// As the profile has it: in units of the reference's time, without waiting.
    private func unitSeconds(of operation: NanoOperation, in layout: BatchLayout) -> Double {
        switch operation.kind {
        case .decodeAttention:
            let work = AttentionWork(of: operation, in: layout)
            return decodeAttention(work.rows, work.blocks)
        case .prefillAttention:
            let work = AttentionWork(of: operation, in: layout)
            return prefillAttention(work.rows, work.positions)
        default:
            return curves[operation.kind]?(Self.rowCount(operation)) ?? 0
        }
    }

    package func speed(of resource: ResourceClass, share: Double) -> Double {
        guard
            let nearest = shares.min(by: {
                abs($0.sharing.memoryShare - share) < abs($1.sharing.memoryShare - share)
            })
        else { return share }
        return share / (resource == .memory ? nearest.factors.memory : nearest.factors.product)
    }

    package func coIssue(rate: Double, reading: Double) -> CoIssue {
        let known = coIssues.filter { $0.sharing.prefetchRate == rate }
            .sorted { $0.reading < $1.reading }
        guard let first = known.first, let last = known.last else {
            return CoIssue(product: 1, memory: 1)
        }
        guard let upper = known.firstIndex(where: { $0.reading >= reading }), upper > 0 else {
            return reading > last.reading ? last.factors : first.factors
        }
        let (a, b) = (known[upper - 1], known[upper])
        let part = (reading - a.reading) / (b.reading - a.reading)
        return CoIssue(
            product: a.factors.product + part * (b.factors.product - a.factors.product),
            memory: a.factors.memory + part * (b.factors.memory - a.factors.memory))
    }

    /// Of all rates and amounts, the most that co-issue makes of reading; 1 where it brings nothing.
    package var bestMemoryFactor: Double {
        coIssues.map(\.factors.memory).reduce(1, min)
    }

    private static func rowCount(_ operation: NanoOperation) -> Double {
        Double(operation.kind.isOnLogitRows ? operation.logitRows.count : operation.rows.count)
    }
}

/// What attention does for the rows of a nano-operation.
private struct AttentionWork {
    var rows = 0.0
    /// Of the cache, by all rows.
    var blocks = 0.0
    /// That rows attend to.
    var positions = 0.0

    init(of operation: NanoOperation, in layout: BatchLayout) {
        let isDecode = operation.kind == .decodeAttention
        for run in layout.runs where run.isDecode == isDecode {
            let rows = run.rows.clamped(to: operation.rows)
            guard !rows.isEmpty else { continue }
            let first = run.positions.lowerBound + rows.lowerBound - run.firstRow
            let end = first + rows.count
            self.rows += Double(rows.count)
            blocks += Double((end - 1) / KVArena.blockSize + 1)
            positions += Double((first + 1 + end) * rows.count) / 2
        }
    }
}

extension ProfileCase {
    fileprivate var onAllUnits: ProfileCase {
        var step = self
        step.units = nil
        return step
    }

    func nanoGraph(layerCount: Int) -> NanoGraph {
        let graph = OperationGraph.decoder(layerCount: layerCount)
        let plan = plan(graph)
        let layout = BatchLayout(batch, shares: plan.nanoBatches, alignment: KVArena.blockSize)
        return graph.split(
            into: NanoBatches(layout, whole: plan.whole), blockSize: KVArena.blockSize)
    }
}
