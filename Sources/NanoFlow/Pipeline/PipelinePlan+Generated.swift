/// The numbers that a generated plan is made of; the search looks for the best.
package struct PlanNumbers: Codable, Sendable, Hashable {
    /// The nano-batches' shares of the rows.
    package var shares = [0.5, 0.5]
    /// The order in which nano-batches take turns within a layer; nil: ``PipelinePlan/defaultOrder``.
    package var order: [PipelinePlan.Turn]?
    /// Co-issue: a little more than an even spread, since what is left when the products end would
    /// have nothing to run beside.
    package var prefetchRate = 1.5
    package var windowByteCount = 192 << 10
    /// Units that prefer operations bound by memory; with co-issue none.
    package var memoryShare = 0.0
    /// Units that prefer operations of the network.
    package var networkShare = 0.0

    package init() {}
}

extension PipelinePlan {
    /// A nano-batch's turn on what computes: a segment of a layer.
    package struct Turn: Codable, Sendable, Hashable {
        package var nanoBatch: Int
        package var segment: Int
        /// 0, or -1 for the layer before.
        package var layerOffset: Int

        package init(nanoBatch: Int, segment: Int, layerOffset: Int) {
            (self.nanoBatch, self.segment) = (nanoBatch, segment)
            self.layerOffset = layerOffset
        }
    }

    /// A run of a layer's operations bound by arithmetic, and the operation bound by something else
    /// that it feeds.
    package struct Segment: Sendable, Hashable {
        package var compute: [Operation.Kind]
        package var feeds: Operation.Kind?
    }

    /// All rows at once, one operation after the other.
    package static func sequential(_ graph: OperationGraph) -> PipelinePlan {
        inTurn(graph, shares: [1])
    }

    /// Each operation on one nano-batch after the other; nothing at the same time.
    package static func nanoBatched(
        _ graph: OperationGraph, _ numbers: PlanNumbers = PlanNumbers()
    ) -> PipelinePlan {
        inTurn(graph, shares: numbers.shares)
    }

    private static func inTurn(_ graph: OperationGraph, shares: [Double]) -> PipelinePlan {
        let kinds = graph.kinds
        let lane = Lane(
            name: "all", before: places(kinds.before, shares.indices),
            layer: places(kinds.layer, shares.indices), after: places(kinds.after, 0..<1))
        return PipelinePlan(
            nanoBatches: shares, whole: kinds.after, lanes: [lane], units: [Share(lanes: ["all"])])
    }

    /// Operations bound by memory or network beside those bound by arithmetic, of different
    /// nano-batches.
    ///
    /// A lane for each resource. Nano-batches take turns on the first one, and what a turn feeds
    /// follows on the others in the same order.
    package static func overlapped(
        _ graph: OperationGraph, _ numbers: PlanNumbers = PlanNumbers()
    ) -> PipelinePlan {
        let kinds = graph.kinds
        let segments = segments(of: graph)
        let order =
            numbers.order
            ?? defaultOrder(nanoBatchCount: numbers.shares.count, segmentCount: segments.count)
        var layers: [ResourceClass: [Place]] = [:]
        for turn in order {
            let segment = segments[turn.segment]
            layers[.compute, default: []] += segment.compute.map {
                Place($0, turn.nanoBatch, layerOffset: turn.layerOffset)
            }
            guard let fed = segment.feeds else { continue }
            layers[fed.resource, default: []].append(
                Place(fed, turn.nanoBatch, layerOffset: turn.layerOffset))
        }
        let resources = ResourceClass.allCases.filter { layers[$0] != nil }
        var lanes = resources.map { Lane(name: $0.rawValue, layer: layers[$0] ?? []) }
        lanes[0].before = places(kinds.before, numbers.shares.indices)
        lanes[0].after = places(kinds.after, 0..<1)
        return PipelinePlan(
            nanoBatches: numbers.shares, whole: kinds.after, lanes: lanes,
            units: units(resources, numbers))
    }

    /// Those that prefer memory or network, and all others, which compute.
    private static func units(_ resources: [ResourceClass], _ numbers: PlanNumbers) -> [Share] {
        var shares: [ResourceClass: Double] = [
            .memory: numbers.memoryShare, .network: numbers.networkShare,
        ].filter { resources.contains($0.key) }
        shares[.compute] = 1 - shares.values.reduce(0, +)
        return resources.compactMap { first in
            guard let share = shares[first], share > 0 else { return nil }
            let lanes = [first] + resources.filter { $0 != first }
            let coIssues =
                numbers.memoryShare == 0 && first == .compute && lanes.dropFirst().first == .memory
            return Share(
                share: share, lanes: lanes.map(\.rawValue),
                prefetchRate: coIssues ? numbers.prefetchRate : 0,
                windowByteCount: coIssues ? numbers.windowByteCount : 0)
        }
    }

    /// Nano-batches in turn from behind their attention in one layer to before that in the next.
    ///
    /// Meanwhile the memory-bound operation of the other nano-batch reads; then they change places:
    ///
    ///     compute  | 0: ... layer 0 | 1: ... layer 0 | 0: layer 0 ... 1 | 1: layer 0 ... 1 |
    ///     memory                    | 0: layer 0     | 1: layer 0       | 0: layer 1       |
    package static func defaultOrder(nanoBatchCount: Int, segmentCount: Int) -> [Turn] {
        (0..<nanoBatchCount).flatMap { nanoBatch in
            ((1..<segmentCount) + [0]).map {
                Turn(nanoBatch: nanoBatch, segment: $0, layerOffset: $0 == 0 ? 0 : -1)
            }
        }
    }

    /// A layer cut behind each run of operations that feeds one bound by memory or network.
    ///
    ///     feeds decodeAttention | feeds an all-reduce | feeds an all-reduce
    ///     norm qkv rope         | prefill ... output  | norm gateUp activation down
    package static func segments(of graph: OperationGraph) -> [Segment] {
        let kinds = graph.kinds.layer
        let memory = kinds.filter { $0.resource == .memory }
        precondition(memory.count == 1, "A layer has one operation bound by memory.")
        let feeding = kinds.feeding(memory[0])
        var segments = [Segment(compute: feeding, feeds: memory[0])]
        var current = Segment(compute: [])
        for kind in kinds where kind != memory[0] && !feeding.contains(kind) {
            if kind.resource == .compute {
                current.compute.append(kind)
            } else {
                current.feeds = kind
                segments.append(current)
                current = Segment(compute: [])
            }
        }
        return current.compute.isEmpty ? segments : segments + [current]
    }

    private static func places(_ kinds: [Operation.Kind], _ nanoBatches: Range<Int>) -> [Place] {
        kinds.flatMap { kind in nanoBatches.map { Place(kind, $0) } }
    }
}

extension [Operation.Kind] {
    /// Those before `kind` that it cannot do without, by what they write and it reads.
    fileprivate func feeding(_ kind: Operation.Kind) -> [Operation.Kind] {
        var wanted = Set(kind.accesses.filter { !$0.isWrite }.map(\.buffer))
        var feeding: [Operation.Kind] = []
        for earlier in prefix(while: { $0 != kind }).reversed()
        where earlier.accesses.contains(where: { $0.isWrite && wanted.contains($0.buffer) }) {
            feeding.insert(earlier, at: 0)
            wanted.formUnion(earlier.accesses.filter { !$0.isWrite }.map(\.buffer))
        }
        return feeding
    }
}
