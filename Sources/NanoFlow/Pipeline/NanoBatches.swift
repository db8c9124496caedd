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
