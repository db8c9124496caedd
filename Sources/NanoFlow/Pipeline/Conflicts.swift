/// Finds the earlier nano-operations that one conflicts with.
struct Conflicts {
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
