/// The resource that bounds an operation's time.
package enum ResourceClass: String, Sendable, Hashable, CaseIterable {
    /// Arithmetic: matrix products on many rows, attention of prompts.
    case compute
    /// Memory bandwidth: decode attention, row-wise operations.
    case memory
}

/// One operation of the model, on all rows of the batch.
package struct Operation: Sendable, Hashable {
    /// What is computed; the names are the model's own.
    package enum Kind: String, Sendable, Hashable, CaseIterable {
        case embedding
        case attentionNorm
        case qkvProjection
        case ropeAppend
        case prefillAttention
        case decodeAttention
        case attentionQuantization
        case outputProjection
        case feedForwardNorm
        case gateUpProjection
        case activation
        case downProjection
        case finalNorm
        case lmHead
        case sampling
    }

    package let kind: Kind
    /// The layer, from 0; nil before the first and behind the last.
    package let layer: Int?
    /// Indices of the operations whose results this one reads, all smaller than its own.
    package let dependencies: [Int]

    package var resource: ResourceClass {
        switch kind {
        case .qkvProjection, .outputProjection, .gateUpProjection, .downProjection, .lmHead,
            .prefillAttention:
            .compute
        case .embedding, .attentionNorm, .ropeAppend, .decodeAttention, .attentionQuantization,
            .feedForwardNorm, .activation, .finalNorm, .sampling:
            .memory
        }
    }
}
