/// The operations of a model in the order in which they compute it one after the other.
///
/// Made from the model's shape by one function per architecture family; no pipeline is written by
/// hand. ``split(into:)`` makes of it the nano-operations of one batch.
package struct OperationGraph: Sendable, Hashable {
    package private(set) var operations: [Operation] = []
    package let layerCount: Int

    /// A decoder as LLaMA and Qwen2 have it: norm, attention, norm, gated feed-forward.
    ///
    ///     embedding -> [ attentionNorm -> qkvProjection -> ropeAppend -> prefill|decodeAttention
    ///       -> attentionQuantization -> outputProjection -> feedForwardNorm -> gateUpProjection
    ///       -> activation -> downProjection ] x layers -> finalNorm -> lmHead -> sampling
    package static func decoder(layerCount: Int) -> OperationGraph {
        var graph = OperationGraph(layerCount: layerCount)
        graph.append([.embedding], nil)
        for layer in 0..<layerCount {
            graph.append(
                [
                    .attentionNorm, .qkvProjection, .ropeAppend, .prefillAttention,
                    .decodeAttention, .attentionQuantization, .outputProjection, .feedForwardNorm,
                    .gateUpProjection, .activation, .downProjection,
                ], layer)
        }
        graph.append([.finalNorm, .lmHead, .sampling], nil)
        return graph
    }

    /// The same with its matrices spread over devices, whose partial sums are added up behind the
    /// output projection and behind the down projection.
    package static func tensorParallelDecoder(layerCount: Int) -> OperationGraph {
        var graph = OperationGraph(layerCount: layerCount)
        for operation in decoder(layerCount: layerCount).operations {
            graph.operations.append(operation)
            let sum: Operation.Kind? =
                switch operation.kind {
                case .outputProjection: .attentionAllReduce
                case .downProjection: .feedForwardAllReduce
                default: nil
                }
            if let sum { graph.append([sum], operation.layer) }
        }
        return graph
    }

    private init(layerCount: Int) { self.layerCount = layerCount }

    private mutating func append(_ kinds: [Operation.Kind], _ layer: Int?) {
        operations += kinds.map { Operation(kind: $0, layer: layer) }
    }

    /// The kinds before the layers, of one layer, and behind the layers, each in its order.
    package var kinds: (before: [Operation.Kind], layer: [Operation.Kind], after: [Operation.Kind])
    {
        let outside = operations.filter { $0.layer == nil }.map(\.kind)
        return (
            outside.filter { !$0.isOnLogitRows }, operations.filter { $0.layer == 0 }.map(\.kind),
            outside.filter(\.isOnLogitRows)
        )
    }
}
