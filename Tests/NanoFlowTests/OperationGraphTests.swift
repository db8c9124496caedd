import NanoFlow
import Testing

@Suite struct OperationGraphTests {
    @Test(arguments: [0, 1, 2, 30])
    func theOrderRespectsTheDependencies(layerCount: Int) {
        let operations = OperationGraph.decoder(layerCount: layerCount).operations
        #expect(operations.count == 4 + 11 * layerCount)
        for (index, operation) in operations.enumerated() {
            #expect(operation.dependencies.allSatisfy { $0 >= 0 && $0 < index })
            #expect(operation.dependencies.isEmpty == (index == 0))
        }
    }

    /// Buffers are reused by every layer, so an operation of a layer may only run when all that
    /// stand before that layer have ended.
    @Test func everyOperationIsBehindAllOfTheLayersBefore() {
        let operations = OperationGraph.decoder(layerCount: 3).operations
        var behind: [Set<Int>] = []
        for operation in operations {
            behind.append(
                operation.dependencies.reduce(into: Set(operation.dependencies)) {
                    $0.formUnion(behind[$1])
                })
        }
        for (index, operation) in operations.enumerated() {
            // Only the two attentions of a layer may run beside each other.
            let beside = Set(0..<index).subtracting(behind[index]).map { operations[$0] }
            #expect(
                beside.allSatisfy {
                    $0.kind == .prefillAttention && operation.kind == .decodeAttention
                        && $0.layer == operation.layer
                })
        }
    }

    @Test func theBeginningTheEndAndEveryLayerAreComplete() {
        let operations = OperationGraph.decoder(layerCount: 2).operations
        #expect(operations.first?.kind == .embedding)
        #expect(operations.suffix(3).map(\.kind) == [.finalNorm, .lmHead, .sampling])
        for layer in 0..<2 {
            let kinds = operations.filter { $0.layer == layer }.map(\.kind)
            #expect(
                kinds == [
                    .attentionNorm, .qkvProjection, .ropeAppend, .prefillAttention,
                    .decodeAttention, .attentionQuantization, .outputProjection, .feedForwardNorm,
                    .gateUpProjection, .activation, .downProjection,
                ])
        }
    }

    @Test func matrixProductsAreBoundByArithmetic() {
        for operation in OperationGraph.decoder(layerCount: 1).operations {
            let isProduct =
                operation.kind.rawValue.hasSuffix("Projection") || operation.kind == .lmHead
            if isProduct { #expect(operation.resource == .compute) }
        }
    }
}
