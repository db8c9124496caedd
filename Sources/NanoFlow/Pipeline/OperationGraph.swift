/// The operations of one step in an order that respects their dependencies.
///
/// Made from the model's shape by one function per architecture family; no pipeline is written by
/// hand. Plans that split and overlap operations are transformations of this graph.
package struct OperationGraph: Sendable, Hashable {
    package private(set) var operations: [Operation] = []

    /// A decoder as LLaMA and Qwen2 have it: norm, attention, norm, gated feed-forward.
    ///
    ///     embedding -> [ attentionNorm -> qkvProjection -> ropeAppend -> prefill|decodeAttention
    ///       -> attentionQuantization -> outputProjection -> feedForwardNorm -> gateUpProjection
    ///       -> activation -> downProjection ] x layers -> finalNorm -> lmHead -> sampling
    package static func decoder(layerCount: Int) -> OperationGraph {
        var graph = OperationGraph()
        var last = graph.append(.embedding, nil, after: [])
        for layer in 0..<layerCount {
            let norm = graph.append(.attentionNorm, layer, after: [last])
            let projected = graph.append(.qkvProjection, layer, after: [norm])
            let appended = graph.append(.ropeAppend, layer, after: [projected])
            // Different sequences: neither reads what the other writes.
            let prefill = graph.append(.prefillAttention, layer, after: [appended])
            let decode = graph.append(.decodeAttention, layer, after: [appended])
            last = graph.append(.attentionQuantization, layer, after: [prefill, decode])
            for kind in [
                Operation.Kind.outputProjection, .feedForwardNorm, .gateUpProjection, .activation,
                .downProjection,
            ] {
                last = graph.append(kind, layer, after: [last])
            }
        }
        for kind in [Operation.Kind.finalNorm, .lmHead, .sampling] {
            last = graph.append(kind, nil, after: [last])
        }
        return graph
    }

    private mutating func append(
        _ kind: Operation.Kind, _ layer: Int?, after dependencies: [Int]
    ) -> Int {
        operations.append(Operation(kind: kind, layer: layer, dependencies: dependencies))
        return operations.count - 1
    }
}
