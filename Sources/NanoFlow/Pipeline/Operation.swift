/// The resource that bounds an operation's time.
package enum ResourceClass: String, Sendable, Hashable, CaseIterable {
    /// Arithmetic: matrix products, attention of prompts, and what runs from row to row in caches.
    case compute
    /// Memory bandwidth: decode attention, which reads the keys and values of all contexts.
    case memory
    /// The network between devices: collectives of tensor parallelism.
    case network
}

/// One operation of the model, on whatever rows a step has.
package struct Operation: Sendable, Hashable {
    /// What is computed; the names are the model's own.
    package enum Kind: String, Sendable, Hashable, CaseIterable, Codable {
        case embedding
        case attentionNorm
        case qkvProjection
        case ropeAppend
        case prefillAttention
        case decodeAttention
        case attentionQuantization
        case outputProjection
        case attentionAllReduce
        case feedForwardNorm
        case gateUpProjection
        case activation
        case downProjection
        case feedForwardAllReduce
        case finalNorm
        case lmHead
        case sampling
    }

    package let kind: Kind
    /// The layer, from 0; nil before the first and behind the last.
    package let layer: Int?
}

extension Operation.Kind {
    package var resource: ResourceClass {
        switch self {
        case .decodeAttention: .memory
        case .attentionAllReduce, .feedForwardAllReduce: .network
        default: .compute
        }
    }

    /// Whether it is a matrix product of a layer, which asks for memory on behalf of others.
    package var isProduct: Bool {
        switch self {
        case .qkvProjection, .outputProjection, .gateUpProjection, .downProjection: true
        default: false
        }
    }

    /// Whether the operation's rows are those that go through the LM head.
    package var isOnLogitRows: Bool {
        switch self {
        case .finalNorm, .lmHead, .sampling: true
        default: false
        }
    }

    /// A number from 0, in the order of the cases: asked for every nano-operation of every step, and
    /// what an enumeration without payloads is in memory.
    package var index: Int { Int(unsafeBitCast(self, to: UInt8.self)) }
}

// MARK: - What is read and written

/// What operations hand to each other, by rows; ``Activations`` has the shapes.
package enum Buffer: Sendable, Hashable, CaseIterable {
    case residual, normed, qkv, attended, attendedInput, gated, activated
    /// By rows that go through the LM head.
    case finalNormed, logits
    /// Keys and values, by layer, sequence and position.
    case cache
}

/// That an operation reads or writes a buffer, each of its rows the row of that number.
///
/// What only one row's operations touch one after the other, and what a later step reads, makes no
/// dependency and is left out: the records of attention, the tokens of a slot, the results.
package struct BufferAccess: Sendable, Hashable {
    package let buffer: Buffer
    package let isWrite: Bool

    static func reads(_ buffer: Buffer) -> BufferAccess {
        BufferAccess(buffer: buffer, isWrite: false)
    }

    /// Writes, and perhaps reads what was there.
    static func writes(_ buffer: Buffer) -> BufferAccess {
        BufferAccess(buffer: buffer, isWrite: true)
    }
}

extension Operation.Kind {
    /// All that the operation reads and writes.
    package var accesses: [BufferAccess] {
        switch self {
        case .embedding: [.writes(.residual)]
        case .attentionNorm, .feedForwardNorm: [.reads(.residual), .writes(.normed)]
        case .qkvProjection: [.reads(.normed), .writes(.qkv)]
        case .ropeAppend: [.writes(.qkv), .writes(.cache)]
        case .prefillAttention, .decodeAttention:
            [.reads(.qkv), .reads(.cache), .writes(.attended)]
        case .attentionQuantization: [.writes(.attended), .writes(.attendedInput)]
        case .outputProjection: [.reads(.attendedInput), .writes(.residual)]
        case .attentionAllReduce, .feedForwardAllReduce: [.writes(.residual)]
        // Where its tiles round their results themselves they write these at once.
        case .gateUpProjection: [.reads(.normed), .writes(.gated), .writes(.activated)]
        case .activation: [.reads(.gated), .writes(.activated)]
        case .downProjection: [.reads(.activated), .writes(.residual)]
        case .finalNorm: [.reads(.residual), .writes(.finalNormed)]
        case .lmHead: [.reads(.finalNormed), .writes(.logits)]
        // A drawn tile of the LM head is computed again.
        case .sampling: [.reads(.finalNormed), .reads(.logits)]
        }
    }
}
