/// The few numbers that a generated plan is made of.
package struct PlanNumbers: Sendable, Hashable {
    /// The nano-batches' shares of the rows.
    package var shares = [0.5, 0.5]
    /// A little more than an even spread: what is left when the products end would have nothing to
    /// run beside.
    package var prefetchRate = 1.5
    package var windowByteCount = 192 << 10

    package init() {}
}

extension PipelinePlan {
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

    /// Operations bound by memory beside those bound by arithmetic, of different nano-batches.
    ///
    /// Each nano-batch runs from behind its memory-bound operation of one layer to before that of
    /// the next one, and meanwhile that of the other nano-batch reads; then they change places:
    ///
    ///     compute  | 0: ... layer 0 | 1: ... layer 0 | 0: layer 0 ... 1 | 1: layer 0 ... 1 |
    ///     memory                    | 0: layer 0     | 1: layer 0       | 0: layer 1       |
    package static func overlapped(
        _ graph: OperationGraph, _ numbers: PlanNumbers = PlanNumbers()
    ) -> PipelinePlan {
        let kinds = graph.kinds
        let (feeding, memory, following) = rolesInLayer(kinds.layer)
        let compute = numbers.shares.indices.flatMap { nanoBatch in
            following.map { Place($0, nanoBatch, layerOffset: -1) }
                + feeding.map { Place($0, nanoBatch) }
        }
        let reading = numbers.shares.indices.flatMap { nanoBatch in
            memory.map { Place($0, nanoBatch) }
        }
        return PipelinePlan(
            nanoBatches: numbers.shares, whole: kinds.after,
            lanes: [
                Lane(
                    name: "compute", before: places(kinds.before, numbers.shares.indices),
                    layer: compute, after: places(kinds.after, 0..<1)),
                Lane(name: "memory", layer: reading),
            ],
            units: [
                Share(
                    lanes: ["compute", "memory"], prefetchRate: numbers.prefetchRate,
                    windowByteCount: numbers.windowByteCount)
            ])
    }

    /// The kinds of a layer by their place around those bound by memory: what feeds these, these,
    /// and all else.
    private static func rolesInLayer(
        _ kinds: [Operation.Kind]
    ) -> (feeding: [Operation.Kind], memory: [Operation.Kind], following: [Operation.Kind]) {
        let memory = kinds.filter { $0.resource == .memory }
        var wanted = Set(memory.flatMap(\.accesses).filter { !$0.isWrite }.map(\.buffer))
        var feeding: [Operation.Kind] = []
        let before = kinds.prefix { $0.resource != .memory }
        for kind in before.reversed()
        where kind.accesses.contains(where: { $0.isWrite && wanted.contains($0.buffer) }) {
            feeding.insert(kind, at: 0)
            wanted.formUnion(kind.accesses.filter { !$0.isWrite }.map(\.buffer))
        }
        return (feeding, memory, kinds.filter { !memory.contains($0) && !feeding.contains($0) })
    }

    private static func places(_ kinds: [Operation.Kind], _ nanoBatches: Range<Int>) -> [Place] {
        kinds.flatMap { kind in nanoBatches.map { Place(kind, $0) } }
    }
}
