import CNanoKernels
import NanoDevice

/// A plan with a batch: the nano-operations, the lanes in which they stand.
package struct ArrangedPlan: Sendable {
    package private(set) var graph: NanoGraph
    /// Indices of nano-operations.
    package let lanes: [[Int]]
    package let plan: PipelinePlan
    /// Units that take part; nil: all.
    package var unitLimit: Int?

    /// Repeats the plan's layer over all layers.
    ///
    /// Returns nil where the batch's dependencies and the orders of the lanes make a cycle.
    package init?(_ plan: PipelinePlan, _ graph: NanoGraph, layerCount: Int) {
        let index = PlaceIndex(graph)
        let lanes = plan.lanes.map { lane -> [Int] in
            var order = lane.before.compactMap { index.operation($0, layer: nil) }
            let reach = -(lane.layer.map(\.layerOffset).min() ?? 0)
            for layer in 0..<layerCount + reach {
                order += lane.layer.compactMap {
                    index.operation($0, layer: layer + $0.layerOffset)
                }
            }
            return order + lane.after.compactMap { index.operation($0, layer: nil) }
        }
        self.init(plan, graph, lanes: lanes)
    }

    /// Any orders of a graph's nano-operations.
    package init?(_ plan: PipelinePlan, _ graph: NanoGraph, lanes: [[Int]]) {
        (self.plan, self.graph, self.lanes) = (plan, graph, lanes)
        guard canRun else { return nil }
    }

    /// The same with another batch; nil where that may have other nano-operations or dependencies.
    func moved(to layout: BatchLayout) -> ArrangedPlan? {
        guard let graph = graph.moved(to: layout) else { return nil }
        var moved = self
        moved.graph = graph
        return moved
    }

    /// Whether going through the lanes side by side comes to their ends.
    private var canRun: Bool {
        var hasEnded = [Bool](repeating: false, count: graph.operations.count)
        var positions = [Int](repeating: 0, count: lanes.count)
        var endedCount = 0
        var before = -1
        while endedCount > before {
            before = endedCount
            for lane in lanes.indices {
                while positions[lane] < lanes[lane].count {
                    let operation = lanes[lane][positions[lane]]
                    guard graph.operations[operation].dependencies.allSatisfy({ hasEnded[$0] })
                    else { break }
                    hasEnded[operation] = true
                    positions[lane] += 1
                    endedCount += 1
                }
            }
        }
        return endedCount == graph.operations.count
    }
}

extension ArrangedPlan {
    /// What each unit does.
    func roles(unitCount: Int, _ model: WorkModel) -> [UnitRole] {
        let rates = plan.units.map { askRate($0, model) }
        var ends: [Double] = []
        for unit in plan.units { ends.append((ends.last ?? 0) + unit.share) }
        let activeCount = min(unitLimit ?? unitCount, unitCount)
        return (0..<unitCount).map { unit in
            guard unit < activeCount else { return .idle }
            let middle = (Double(unit) + 0.5) / Double(activeCount)
            let index = ends.firstIndex { middle < $0 } ?? ends.count - 1
            let share = plan.units[index]
            let preferred = share.lanes.compactMap { name in
                plan.lanes.firstIndex { $0.name == name }
            }
            // However few units there are, each lane has one that goes through it.
            let others = plan.lanes.indices.filter { !preferred.contains($0) }
            return UnitRole(
                lanes: preferred + others,
                askRate: rates[index], windowByteCount: share.windowByteCount)
        }
    }

    /// Cache lines that the second lane reads for each `NK_AHEAD_UNIT` of rows x inputs of a panel
    /// of the first lane's products, times the plan's rate.
    private func askRate(_ share: PipelinePlan.Share, _ model: WorkModel) -> Int {
        guard share.prefetchRate > 0 else { return 0 }
        let works = share.lanes.prefix(2).map { name -> OperationWork in
            let lane = plan.lanes.firstIndex { $0.name == name } ?? 0
            return lanes[lane].reduce(OperationWork()) { sum, index in
                let operation = graph.operations[index]
                guard operation.layer != nil,
                    operation.kind.isProduct || operation.kind.resource == .memory
                else { return sum }
                return sum + model.work(of: operation, in: graph.layout)
            }
        }
        let lines = works[1].bytes / 64
        let units = works[0].operations / 2 / Double(NK_PANEL) / Double(NK_AHEAD_UNIT)
        guard units > 0 else { return 0 }
        return max(1, Int(share.prefetchRate * lines / units))
    }
}

/// Finds nano-operations by kind, part and layer.
private struct PlaceIndex {
    private var indices: [Int32]
    private let layerCount: Int

    init(_ graph: NanoGraph) {
        layerCount = (graph.operations.lazy.compactMap(\.layer).max() ?? -1) + 1
        indices = Array(
            repeating: -1,
            count: (layerCount + 1) * Operation.Kind.allCases.count * PipelinePlan.maxNanoBatchCount
        )
        for (index, operation) in graph.operations.enumerated() {
            let place = place(operation.kind, operation.nanoBatch, operation.layer)
            indices[place] = Int32(index)
        }
    }

    func operation(_ place: PipelinePlan.Place, layer: Int?) -> Int? {
        guard layer.map({ (0..<layerCount).contains($0) }) ?? true else { return nil }
        let index = indices[self.place(place.kind, place.nanoBatch, layer)]
        return index < 0 ? nil : Int(index)
    }

    private func place(_ kind: Operation.Kind, _ nanoBatch: Int, _ layer: Int?) -> Int {
        let row = (layer ?? layerCount) * Operation.Kind.allCases.count + kind.index
        return row * PipelinePlan.maxNanoBatchCount + nanoBatch
    }
}
