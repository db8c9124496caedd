import CNanoKernels

/// A kernel at a shape: one line of `nanoflow bench kernels`.
package struct KernelCase: Sendable, Hashable {
    package let work: Work
    /// Models that have the shape.
    package var models: [String]

    package enum Work: Sendable, Hashable {
        case product(ProductShape)
        case decodeAttention(AttentionShape)
        case prefillAttention(AttentionShape)
        case rows(RowShape)
    }

    package init(_ work: Work, models: [String]) {
        self.work = work
        self.models = models
    }

    /// "gemm_int8_g64", "attention_decode_bf16", "rms_norm".
    package var name: String {
        switch work {
        case .product(let shape): "gemm_\(shape.format.rawValue)"
        case .decodeAttention(let shape): "attention_decode_\(shape.cache.rawValue)"
        case .prefillAttention(let shape): "attention_prefill_\(shape.cache.rawValue)"
        case .rows(let shape): shape.kernel.rawValue
        }
    }

    /// What the kernel is for, where it has several uses: "qkv_projection".
    package var operation: String? {
        guard case .product(let shape) = work else { return nil }
        return shape.role.rawValue
    }

    package var shape: KernelShape {
        switch work {
        case .product(let shape):
            KernelShape(m: shape.rows, n: shape.outputs, k: shape.inputs)
        case .decodeAttention(let shape), .prefillAttention(let shape):
            KernelShape(
                tokens: shape.tokens, heads: shape.heads, kvHeads: shape.kvHeads,
                headDim: shape.headDimension, order: shape.order)
        case .rows(let shape):
            KernelShape(
                width: shape.width, heads: shape.heads, kvHeads: shape.kvHeads,
                headDim: shape.headDimension)
        }
    }

    /// The operands of its dot products: the peak that it is held against.
    package var arithmetic: PeakKind {
        switch work {
        case .product(let shape): shape.format.arithmetic
        case .decodeAttention(let shape), .prefillAttention(let shape): shape.cache.arithmetic
        case .rows: .f32
        }
    }

    /// All that is known of it in one line, for filters and tables.
    package var label: String {
        ([name, shape.description, operation].compactMap { $0 } + models).joined(separator: " ")
    }
}

/// The sizes of a kernel's operands, in the form of the JSON file; absent where they mean nothing.
package struct KernelShape: Sendable, Hashable, Encodable, CustomStringConvertible {
    /// Of a product: (m, k) activations times (n, k) weights.
    package var m: Int?
    package var n: Int?
    package var k: Int?
    /// Numbers in a row.
    package var width: Int?
    /// Length of a sequence.
    package var tokens: Int?
    package var heads: Int?
    package var kvHeads: Int?
    package var headDim: Int?
    package var order: BlockOrder?

    package init(
        m: Int? = nil, n: Int? = nil, k: Int? = nil, width: Int? = nil, tokens: Int? = nil,
        heads: Int? = nil, kvHeads: Int? = nil, headDim: Int? = nil, order: BlockOrder? = nil
    ) {
        (self.m, self.n, self.k, self.width) = (m, n, k, width)
        (self.tokens, self.heads, self.kvHeads) = (tokens, heads, kvHeads)
        (self.headDim, self.order) = (headDim, order)
    }

    /// "m96 n3072 k576", "t1024 9/3x64 scattered".
    package var description: String {
        var parts: [String] = []
        if let m, let n, let k { parts += ["m\(m)", "n\(n)", "k\(k)"] }
        if let width { parts.append("width \(width)") }
        if let tokens { parts.append("t\(tokens)") }
        if let heads, let kvHeads, let headDim { parts.append("\(heads)/\(kvHeads)x\(headDim)") }
        if let order { parts.append(order.rawValue) }
        return parts.joined(separator: " ")
    }
}

/// A matrix product: (rows, inputs) times (outputs, inputs).
package struct ProductShape: Sendable, Hashable {
    package var format: ProductFormat
    package var role: ProductRole
    package var rows: Int
    package var outputs: Int
    package var inputs: Int

    package init(format: ProductFormat, role: ProductRole, rows: Int, outputs: Int, inputs: Int) {
        (self.format, self.role) = (format, role)
        (self.rows, self.outputs, self.inputs) = (rows, outputs, inputs)
    }
}

/// How the weights of a product are stored.
package enum ProductFormat: String, Sendable, Hashable, CaseIterable {
    case int8InGroupsOf64 = "int8_g64"
    case int8InGroupsOf192 = "int8_g192"
    case int8PerChannel = "int8_pc"
    case bf16
    case f32

    func matrixFormat(inputs: Int) -> MatrixFormat {
        switch self {
        case .int8InGroupsOf64: .int8(groupSize: 64)
        case .int8InGroupsOf192: .int8(groupSize: 192)
        case .int8PerChannel: .int8(groupSize: inputs)
        case .bf16: .bf16
        case .f32: .f32
        }
    }

    var arithmetic: PeakKind {
        switch self {
        case .int8InGroupsOf64, .int8InGroupsOf192, .int8PerChannel: .int8
        case .bf16: .bf16
        case .f32: .f32
        }
    }
}

/// Which of a model's matrices; it decides what is done with the result.
package enum ProductRole: String, Sendable, Hashable, CaseIterable {
    case qkvProjection = "qkv_projection"
    case outputProjection = "output_projection"
    case gateUpProjection = "gate_up_projection"
    case downProjection = "down_projection"
    case lmHead = "lm_head"

    var epilogue: nk_epilogue {
        switch self {
        case .qkvProjection, .lmHead: NK_STORE
        case .outputProjection, .downProjection: NK_ADD
        case .gateUpProjection: NK_SILU_MULTIPLY
        }
    }
}

/// The attention of sequences of `tokens`.
package struct AttentionShape: Sendable, Hashable {
    package var cache: CacheFormat
    package var tokens: Int
    package var heads: Int
    package var kvHeads: Int
    package var headDimension: Int
    package var order: BlockOrder

    package init(
        cache: CacheFormat, tokens: Int, heads: Int, kvHeads: Int, headDimension: Int,
        order: BlockOrder
    ) {
        (self.cache, self.tokens, self.order) = (cache, tokens, order)
        (self.heads, self.kvHeads, self.headDimension) = (heads, kvHeads, headDimension)
    }
}

/// How keys and values are stored.
package enum CacheFormat: String, Sendable, Hashable, CaseIterable {
    case bf16, int8, f32

    var kernelType: nk_kv_type {
        switch self {
        case .bf16: NK_KV_BF16
        case .int8: NK_KV_INT8
        case .f32: NK_KV_F32
        }
    }

    var arithmetic: PeakKind {
        switch self {
        case .bf16: .bf16
        case .int8: .int8
        case .f32: .f32
        }
    }
}

/// How the blocks of a sequence lie in memory.
package enum BlockOrder: String, Sendable, Hashable, CaseIterable, Encodable {
    /// One after the other, as a fresh pool gives them.
    case inOrder = "in_order"
    /// Anywhere, as after many requests.
    case scattered
}

/// A kernel that works on one row at a time.
package struct RowShape: Sendable, Hashable {
    package var kernel: RowKernel
    /// Numbers in a row; nil where heads make up the row.
    package var width: Int?
    package var heads: Int?
    package var kvHeads: Int?
    package var headDimension: Int?

    package init(_ kernel: RowKernel, width: Int) {
        (self.kernel, self.width) = (kernel, width)
    }

    package init(_ kernel: RowKernel, heads: Int, kvHeads: Int, headDimension: Int) {
        (self.kernel, self.heads) = (kernel, heads)
        (self.kvHeads, self.headDimension) = (kvHeads, headDimension)
    }
}

package enum RowKernel: String, Sendable, Hashable, CaseIterable {
    case rmsNorm = "rms_norm"
    case convertBF16 = "convert_bf16"
    case rotate
    case quantizeInt8 = "quantize_int8"
    case rope
    case appendBF16 = "kv_append_bf16"
    case appendInt8 = "kv_append_int8"
    case appendF32 = "kv_append_f32"
    case argmax
    case sumExp = "sum_exp"
}
