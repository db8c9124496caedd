/// How the operations of a batch are cut: for each kind, where its rows are cut.
///
/// The rows of one operation need not be cut as those of another.
package struct NanoBatches: Sendable, Hashable {
    package let layout: BatchLayout
    private let exceptions: [Operation.Kind: [Int]]

    /// Cuts all operations where the layout's nano-batches meet, but for some.
    ///
    /// - Parameters:
    ///   - layout: The batch.
    ///   - exceptions: Boundaries of other kinds: ascending rows from 0 to the number of rows.
    package init(_ layout: BatchLayout, exceptions: [Operation.Kind: [Int]] = [:]) {
        for boundaries in exceptions.values {
            precondition(
                boundaries.first == 0 && boundaries.last == layout.rowCount
                    && zip(boundaries, boundaries.dropFirst()).allSatisfy { $0 < $1 },
                "Boundaries must ascend from the first row to the last.")
        }
        self.layout = layout
        self.exceptions = exceptions
    }

    /// Cuts all operations where the layout's nano-batches meet, but for those of `whole` kinds.
    package init(_ layout: BatchLayout, whole: [Operation.Kind]) {
        let all = [0, layout.rowCount]
        self.init(layout, exceptions: Dictionary(uniqueKeysWithValues: whole.map { ($0, all) }))
    }

    /// The first row of each part of an operation, and the end of the last one.
    package func boundaries(of kind: Operation.Kind) -> [Int] {
        exceptions[kind] ?? layout.boundaries
    }
}

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
    package let layout: BatchLayout
    package private(set) var operations: [NanoOperation] = []

    fileprivate init(_ layout: BatchLayout) { self.layout = layout }

    fileprivate mutating func append(_ operation: NanoOperation) { operations.append(operation) }

    /// The rows at which an operation is cut, the first and the last ones not counted.
    package func cuts(of kind: Operation.Kind) -> [Int] {
        let first = operations.first { $0.kind == kind }?.operation
        return operations.filter { $0.operation == first }.map(\.rows.lowerBound).filter { $0 > 0 }
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

/// Finds the earlier nano-operations that one conflicts with.
private struct Conflicts {
    private struct Access {
        let operation: Int
        let layer: Int?
        let rows: RowSet
        let isWrite: Bool
    }

    /// The rows that a kind touches of one part of the batch.
    private struct Part: Hashable {
        let rows: Range<Int>
        /// nil: all of them.
        let attendsAsDecode: Bool?
    }

    /// Whether some rows' attention reads what others append; layers ask the same again and again.
    private struct Question: Hashable {
        let readers: RowSet
        let writers: RowSet
    }

    private let layout: BatchLayout
    private let blockSize: Int
    /// By buffer: those that later ones may conflict with, but for those that a later write covers.
    private var accesses: [Buffer: [Access]] = [:]
    private var parts: [Part: RowSet] = [:]
    private var answers: [Question: Bool] = [:]

    init(_ layout: BatchLayout, blockSize: Int) {
        self.layout = layout
        self.blockSize = blockSize
    }

    /// The rows on which the operation works.
    mutating func touched(by operation: NanoOperation) -> RowSet {
        if operation.kind.isOnLogitRows { return RowSet(operation.logitRows) }
        let part = Part(rows: operation.rows, attendsAsDecode: operation.kind.attendsAsDecode)
        guard let asDecodes = part.attendsAsDecode else { return RowSet(operation.rows) }
        if let rows = parts[part] { return rows }
        let rows = layout.attending(operation.rows, asDecodes: asDecodes)
        parts[part] = rows
        return rows
    }

    /// Takes in the next operation; returns those before it that it conflicts with, ascending.
    mutating func add(_ operation: NanoOperation, _ touched: RowSet, index: Int) -> [Int] {
        var found: Set<Int> = []
        for access in operation.kind.accesses {
            let rows = rows(of: access.buffer, operation, touched)
            let new = Access(
                operation: index, layer: operation.layer, rows: rows, isWrite: access.isWrite)
            var kept: [Access] = []
            for old in accesses[access.buffer] ?? [] {
                let isOrdered = conflict(old, new, access.buffer)
                if isOrdered, old.operation != index { found.insert(old.operation) }
                // Who conflicts with the old one conflicts with this one, too.
                let isCovered =
                    isOrdered && new.isWrite && access.buffer != .cache
                    && old.rows.isSubset(of: new.rows)
                let isPast = access.buffer == .cache && old.layer != new.layer
                if !isCovered, !isPast { kept.append(old) }
            }
            kept.append(new)
            accesses[access.buffer] = kept
        }
        return found.sorted()
    }

    /// The residual is read by rows of the batch even where the result has logit rows.
    private func rows(of buffer: Buffer, _ operation: NanoOperation, _ touched: RowSet) -> RowSet {
        guard operation.kind.isOnLogitRows, buffer == .residual else { return touched }
        return RowSet(ascending: layout.logitRows[operation.logitRows])
    }

    private mutating func conflict(_ old: Access, _ new: Access, _ buffer: Buffer) -> Bool {
        guard old.isWrite || new.isWrite else { return false }
        guard buffer == .cache else { return old.rows.intersects(new.rows) }
        // Of two that append, each writes its own rows' positions.
        guard old.layer == new.layer, old.isWrite != new.isWrite else { return false }
        let question = Question(
            readers: old.isWrite ? new.rows : old.rows, writers: old.isWrite ? old.rows : new.rows)
        if let answer = answers[question] { return answer }
        let answer = layout.reads(
            question.readers, whatAppends: question.writers, blockSize: blockSize)
        answers[question] = answer
        return answer
    }
}

extension Operation.Kind {
    /// Whether it works on rows that attend as decodes; nil: on all rows.
    fileprivate var attendsAsDecode: Bool? {
        switch self {
        case .decodeAttention: true
        case .prefillAttention: false
        default: nil
        }
    }
}
