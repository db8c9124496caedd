import NanoDevice
package import NanoFlow

/// Predicts how long plans take for one batch.
///
/// Layers are alike, so a few are simulated: with T(n) the time of n layers, that of L is
/// T(2) + (L - 2) (T(4) - T(2)) / 2. Batches are cut once for all plans with the same nano-batches.
package struct StepPredictor: Sendable {
    private let device: any DeviceModel
    private let batch: Batch
    private let layerCount: Int
    private let graphs: [OperationGraph]
    private var nanoGraphs: [Cut: [(graph: NanoGraph, durations: [Double])]] = [:]

    private struct Cut: Hashable {
        let shares: [Double]
        let whole: [NanoFlow.Operation.Kind]
    }

    private static let simulatedLayers = (few: 2, more: 4)

    /// - Parameters:
    ///   - batch: What the step computes.
    ///   - layerCount: Of the model.
    ///   - graph: The model's operations with so many layers.
    ///   - device: Runs them.
    package init(
        _ batch: Batch, layerCount: Int, graph: (Int) -> OperationGraph, on device: any DeviceModel
    ) {
        (self.batch, self.layerCount, self.device) = (batch, layerCount, device)
        let counts = [Self.simulatedLayers.few, Self.simulatedLayers.more].filter {
            $0 < layerCount
        }
        graphs = (counts.count == 2 ? counts : [layerCount]).map(graph)
    }

    /// Seconds of a step; nil where the plan comes to a standstill on this batch.
    package mutating func seconds(_ plan: PipelinePlan) -> Double? {
        var times: [Double] = []
        for (graph, cut) in zip(graphs, cut(plan)) {
            guard let arranged = ArrangedPlan(plan, cut.graph, layerCount: graph.layerCount) else {
                return nil
            }
            times.append(
                StepSimulation.run(arranged, durations: cut.durations, on: device).seconds)
        }
        return ofAllLayers(times)
    }

    /// The time of all layers, from those of the graphs.
    private func ofAllLayers(_ times: [Double]) -> Double {
        guard times.count == 2 else { return times[0] }
        let (few, more) = Self.simulatedLayers
        let layer = (times[1] - times[0]) / Double(more - few)
        return times[0] + Double(layerCount - few) * layer
    }

    /// Seconds of a step in sequence, as the simulation has them to within a few hand-overs.
    package var sequentialSeconds: Double {
        ofAllLayers(
            sequentialGraphs.map { graph in
                graph.operations.reduce(0) {
                    $0 + device.seconds(of: $1, in: graph.layout) + device.handoverSeconds
                }
            })
    }

    /// The same by kind of operation, without what is between them.
    package var sequentialKinds: [NanoFlow.Operation.Kind: Double] {
        let sums = sequentialGraphs.map { graph in
            graph.operations.reduce(into: [NanoFlow.Operation.Kind: Double]()) {
                $0[$1.kind, default: 0] += device.seconds(of: $1, in: graph.layout)
            }
        }
        return Dictionary(
            uniqueKeysWithValues: sums[0].keys.map { kind in
                (kind, ofAllLayers(sums.map { $0[kind] ?? 0 }))
            })
    }

    private var sequentialGraphs: [NanoGraph] {
        split(Cut(shares: [1], whole: PipelinePlan.sequential(graphs[0]).whole))
    }

    /// A time that no plan of any kind can be faster than: all that one resource has to do, without
    /// a wait, at the speed that it has alone.
    ///
    /// Co-issue may make reading faster than it is alone; `bestMemoryFactor` says how much.
    package func lowerBound(bestMemoryFactor: Double = 1) -> Double {
        let kinds = sequentialKinds
        return ResourceClass.allCases.map { resource in
            kinds.sum { $0.resource == resource } * (resource == .memory ? bestMemoryFactor : 1)
        }.max() ?? 0
    }

    private mutating func cut(
        _ plan: PipelinePlan
    ) -> [(graph: NanoGraph, durations: [Double])] {
        let cut = Cut(shares: plan.nanoBatches, whole: plan.whole)
        if let known = nanoGraphs[cut] { return known }
        let made = split(cut).map { ($0, StepSimulation.durations($0, on: device)) }
        nanoGraphs[cut] = made
        return made
    }

    private func split(_ cut: Cut) -> [NanoGraph] {
        let layout = BatchLayout(batch, shares: cut.shares, alignment: KVArena.blockSize)
        return graphs.map {
            $0.split(into: NanoBatches(layout, whole: cut.whole), blockSize: KVArena.blockSize)
        }
    }
}
