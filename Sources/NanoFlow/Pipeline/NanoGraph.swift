/// An operation on some rows of a batch.
package struct NanoOperation: Sendable, Hashable {
    /// Index in the model's graph.
    package let operation: Int
    package let kind: Operation.Kind
    package let layer: Int?
    /// Which part of the operation, from 0.
    package let nanoBatch: Int
    /// Rows of the batch.
    package let rows: Range<Int>
    /// Of `rows` those that go through the LM head, by their indices; for kinds that run on them.
    package let logitRows: Range<Int>
    /// Indices of nano-operations that must have ended before, all smaller than its own.
    package fileprivate(set) var dependencies: [Int] = []
}

/// The nano-operations of one batch, with their dependencies.
package struct NanoGraph: Sendable, Hashable {
    package private(set) var layout: BatchLayout
    package private(set) var operations: [NanoOperation] = []

    fileprivate init(_ layout: BatchLayout) { self.layout = layout }

    fileprivate mutating func append(_ operation: NanoOperation) { operations.append(operation) }

    /// The rows at which an operation is cut, the first and the last ones not counted.
    package func cuts(of kind: Operation.Kind) -> [Int] {
        guard let first = operations.first(where: { $0.kind == kind })?.operation else { return [] }
        return operations.filter { $0.operation == first }.map(\.rows.lowerBound).filter { $0 > 0 }
    }

    /// The same for another batch that differs in nothing but positions; nil: it may differ in more.
    ///
    /// Both only decode, and no decode reads what another one appends.
    func moved(to layout: BatchLayout) -> NanoGraph? {
        guard self.layout.onlyDecodes, layout.onlyDecodes,
            layout.boundaries == self.layout.boundaries, layout.logitRows == self.layout.logitRows
        else { return nil }
        var graph = self
        graph.layout = layout
        return graph
    }

    /// The graph without one dependency, for tests that show what it is there for.
    package func removing(dependency: Int, of operation: Int) -> NanoGraph {
        var graph = self
        graph.operations[operation].dependencies.removeAll { $0 == dependency }
        return graph
    }
}

extension OperationGraph {
    /// Cuts the operations of a batch into nano-operations.
    ///
    /// Two of them depend on each other exactly where one writes what the other reads or writes:
    /// rows of a buffer, which all layers share, or keys and values of a sequence in a layer.
    /// What has no rows is left out.
    ///
    /// - Parameters:
    ///   - nanoBatches: The batch, and where it is cut.
    ///   - blockSize: Positions of a block of the KV cache, which attention reads at once.
    /// - Returns: The nano-operations, each behind those that it depends on.
    package func split(into nanoBatches: NanoBatches, blockSize: Int) -> NanoGraph {
        let layout = nanoBatches.layout
        var graph = NanoGraph(layout)
        var conflicts = Conflicts(layout, blockSize: blockSize)
        for (index, operation) in operations.enumerated() {
            let boundaries = nanoBatches.boundaries(of: operation.kind)
            for (part, rows) in zip(boundaries, boundaries.dropFirst()).enumerated() {
                let rows = rows.0..<rows.1
                var nano = NanoOperation(
                    operation: index, kind: operation.kind, layer: operation.layer,
                    nanoBatch: part, rows: rows, logitRows: layout.logitIndices(rows))
                let touched = conflicts.touched(by: nano)
                guard !touched.isEmpty else { continue }
                nano.dependencies = conflicts.add(nano, touched, index: graph.operations.count)
                graph.append(nano)
            }
        }
        return graph
    }
}
