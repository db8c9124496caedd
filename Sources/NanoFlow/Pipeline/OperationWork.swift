import NanoDevice
package import NanoModel

/// What a nano-operation needs of the machine.
package struct OperationWork: Sendable, Hashable {
    /// Multiplications and additions.
    package var operations = 0.0
    /// Read from memory: weights, once each, and keys and values; activations stay in caches.
    package var bytes = 0.0
    /// Numbers that each device has a partial sum of.
    package var reducedValues = 0.0

    package init(operations: Double = 0, bytes: Double = 0, reducedValues: Double = 0) {
        (self.operations, self.bytes) = (operations, bytes)
        self.reducedValues = reducedValues
    }

    package static func + (a: OperationWork, b: OperationWork) -> OperationWork {
        OperationWork(
            operations: a.operations + b.operations, bytes: a.bytes + b.bytes,
            reducedValues: a.reducedValues + b.reducedValues)
    }
}

/// Works out what nano-operations need, from the model's shape and the formats it is stored in.
package struct WorkModel: Sendable {
    private let model: ModelConfiguration
    /// Bytes of one KV head's keys and values of one block in one layer.
    private let blockByteCount: Int
    /// Bytes of one parameter of a matrix; scales and biases are not counted.
    private let parameterByteCount: Int
    /// Bytes of one row of the embedding.
    private let embeddingByteCount: Int

    package init(
        _ model: ModelConfiguration, blockByteCount: Int, parameterByteCount: Int,
        embeddingByteCount: Int
    ) {
        self.model = model
        self.embeddingByteCount = embeddingByteCount
        self.blockByteCount = blockByteCount
        self.parameterByteCount = parameterByteCount
    }

    package func work(of operation: NanoOperation, in layout: BatchLayout) -> OperationWork {
        let rows = Double(operation.rows.count)
        let logitRows = Double(operation.logitRows.count)
        let (hidden, attended) = (model.hiddenSize, model.headCount * model.headDimension)
        return switch operation.kind {
        case .qkvProjection: product(rows, hidden, model.qkvSize)
        case .outputProjection: product(rows, attended, hidden)
        case .gateUpProjection: product(rows, hidden, 2 * model.feedForwardSize)
        case .downProjection: product(rows, model.feedForwardSize, hidden)
        case .lmHead: product(logitRows, hidden, model.vocabularyCount)
        case .decodeAttention: attention(layout, operation.rows, asDecodes: true)
        case .prefillAttention: attention(layout, operation.rows, asDecodes: false)
        case .embedding: OperationWork(bytes: rows * Double(embeddingByteCount))
        // Mean square, scaling, rounding.
        case .attentionNorm, .feedForwardNorm: rowWise(rows, 5 * hidden)
        case .finalNorm: rowWise(logitRows, 5 * hidden)
        // Two numbers make two others with four multiplications and two additions.
        case .ropeAppend: rowWise(rows, 3 * model.qkvSize)
        case .attentionQuantization: rowWise(rows, 2 * attended)
        case .activation: rowWise(rows, 2 * model.feedForwardSize)
        case .sampling: rowWise(logitRows, model.vocabularyCount)
        case .attentionAllReduce, .feedForwardAllReduce:
            OperationWork(reducedValues: rows * Double(hidden))
        }
    }

    private func rowWise(_ rows: Double, _ operationsPerRow: Int) -> OperationWork {
        OperationWork(operations: rows * Double(operationsPerRow))
    }

    private func product(_ rows: Double, _ inputs: Int, _ outputs: Int) -> OperationWork {
        let parameters = Double(inputs * outputs)
        return OperationWork(
            operations: 2 * rows * parameters, bytes: parameters * Double(parameterByteCount))
    }

    /// Every row sees the positions up to its own; a run of rows reads their blocks once a piece.
    private func attention(
        _ layout: BatchLayout, _ rows: Range<Int>, asDecodes: Bool
    ) -> OperationWork {
        var (positions, blocks) = (0, 0)
        for run in layout.runs where run.isDecode == asDecodes {
            let clamped = run.rows.clamped(to: rows)
            guard !clamped.isEmpty else { continue }
            let first = run.positions.lowerBound + clamped.lowerBound - run.firstRow
            let end = first + clamped.count
            positions += (first + 1 + end) * clamped.count / 2
            var piece = first
            while piece < end {
                let next = min((piece / StepInput.rowsPerPiece + 1) * StepInput.rowsPerPiece, end)
                blocks += (next - 1) / KVArena.blockSize + 1
                piece = next
            }
        }
        let operations = 4 * model.headCount * model.headDimension * positions
        return OperationWork(
            operations: Double(operations),
            bytes: Double(blocks * model.kvHeadCount * blockByteCount))
    }
}
