import CNanoKernels

/// A kernel on rows that a thread's caches hold, four in turn, as those of the engine's tiles.
struct RowWork: KernelWork {
    package let operationsPerPortion = 0.0
    /// Read and written by a call.
    package let bytesPerPortion: Double

    private let shape: RowShape
    private let kernels: Kernels
    private let width: Int
    private let callsPerChunk: Int
    private let parts: [Part]
    // Keeps memory mapped.
    private let arena: MemoryArena

    /// What one thread works on.
    private struct Part: Sendable {
        nonisolated(unsafe) var rows: UnsafeMutablePointer<Float>  // (row, width)
        nonisolated(unsafe) var out: UnsafeMutableRawPointer
        nonisolated(unsafe) var starts: UnsafeMutablePointer<Int32>
        nonisolated(unsafe) var cache: nk_kv_layer
    }

    private static let rowCount = 4
    private static let groupSize = 64

    init(_ shape: RowShape, _ bench: KernelWorkbench) throws(KernelBenchmarkError) {
        let width = shape.rowWidth
        let cacheByteCount = shape.blockByteCount
        let sizes = [
            MemoryArena.byteCount(Float.self, (Self.rowCount + 1) * width),
            MemoryArena.byteCount(Float.self, width + 16),
            MemoryArena.byteCount(Int32.self, width / Self.groupSize + 1),
            MemoryArena.byteCount(UInt8.self, max(1, cacheByteCount)),
        ]
        let arena = try bench.arena(byteCount: bench.threads * sizes.reduce(0, +))
        parts = (0..<bench.threads).map { thread in
            let rows = arena.cutStart(Float.self, count: (Self.rowCount + 1) * width)
            KernelWorkbench.fill(
                UnsafeMutableBufferPointer(start: rows, count: (Self.rowCount + 1) * width),
                seed: UInt64(thread))
            let out = UnsafeMutableRawPointer(arena.cutStart(Float.self, count: width + 16))
            let starts = arena.cutStart(Int32.self, count: width / Self.groupSize + 1)
            let cache = nk_kv_layer(
                base: arena.cutStart(UInt8.self, count: cacheByteCount),
                block_stride: cacheByteCount,
                head_stride: cacheByteCount / max(1, shape.kvHeads ?? 1), type: shape.cacheType)
            return Part(rows: rows, out: out, starts: starts, cache: cache)
        }
        bytesPerPortion = Double(shape.byteCount(groupSize: Self.groupSize))
        callsPerChunk = max(1, Int(1e6 / bytesPerPortion))
        (self.shape, kernels, self.width, self.arena) = (shape, bench.kernels, width, arena)
    }

    package func run(thread: Int, chunk: Int) -> UInt64 {
        let part = parts[thread]
        for call in chunk * callsPerChunk..<(chunk + 1) * callsPerChunk {
            run(part, row: part.rows + call % Self.rowCount * width, call: call)
        }
        return UInt64(callsPerChunk)
    }

    private func run(_ part: Part, row: UnsafeMutablePointer<Float>, call: Int) {
        let functions = kernels.functions.pointee
        let count = Int32(width)
        let second = part.rows + Self.rowCount * width
        switch shape.kernel {
        case .rmsNorm:
            functions.rms_norm(
                row, second, 1e-5, count, part.out.assumingMemoryBound(to: Float.self))
        case .convertBF16:
            functions.convert_bf16(row, count, part.out.assumingMemoryBound(to: nk_bf16.self))
        case .rotate:
            // 1 / 8 keeps the length of a run of 64, however often it is turned.
            functions.rotate(row, count, 64, MatrixFormat.rotationSigns, 0.125)
        case .quantizeInt8:
            var scale: Float = 0
            functions.quantize_int8(
                row, count, Int32(Self.groupSize),
                part.out.assumingMemoryBound(to: Int8.self), &scale, part.starts)
        case .rope, .appendBF16, .appendInt8, .appendF32: runHeads(part, row, second, call)
        case .argmax:
            var largest: Float = 0
            _ = functions.argmax(row, count, &largest)
        case .sumExp: _ = functions.sum_exp(row, count, 1, 1)
        }
    }

    private func runHeads(
        _ part: Part, _ row: UnsafeMutablePointer<Float>, _ second: UnsafeMutablePointer<Float>,
        _ call: Int
    ) {
        guard let heads = shape.heads, let kvHeads = shape.kvHeads, let dim = shape.headDimension
        else { preconditionFailure("The shape of \(shape.kernel.rawValue) must have heads.") }
        if shape.kernel == .rope {
            // The sines and cosines of one angle, so that the row keeps its length.
            second.update(repeating: 0.6, count: dim / 2)
            (second + dim / 2).update(repeating: 0.8, count: dim / 2)
            kernels.functions.pointee.rope(
                row, Int32(heads + kvHeads), Int32(dim), Int32(dim), second, second + dim / 2,
                true)
        } else {
            kernels.functions.pointee.kv_append(
                row, second, Int32(kvHeads), Int32(dim), part.cache, 0, Int32(call % 64))
        }
    }
}

extension RowShape {
    /// f32 numbers that a call takes.
    fileprivate var rowWidth: Int {
        if let width { return width }
        guard let heads, let kvHeads, let headDimension else {
            preconditionFailure("A row has a width or heads.")
        }
        return kernel == .rope
            ? (heads + kvHeads) * headDimension : kvHeads * headDimension
    }

    fileprivate var cacheType: nk_kv_type {
        switch kernel {
        case .appendInt8: NK_KV_INT8
        case .appendBF16: NK_KV_BF16
        default: NK_KV_F32
        }
    }

    /// Bytes of one block of all KV heads; 0 for kernels that write none.
    fileprivate var blockByteCount: Int {
        switch kernel {
        case .appendInt8, .appendBF16, .appendF32:
            (kvHeads ?? 0) * nk_kv_head_bytes(cacheType, Int32(headDimension ?? 0))
        default: 0
        }
    }

    /// Bytes that a call reads and writes.
    fileprivate func byteCount(groupSize: Int) -> Int {
        let row = rowWidth * 4
        return switch kernel {
        case .rmsNorm: 3 * row
        case .convertBF16: row + row / 2
        case .rotate: 2 * row
        case .quantizeInt8: row + row / 4 + 4 * (rowWidth / groupSize + 1)
        case .rope: 2 * row + (headDimension ?? 0) * 4
        case .appendBF16, .appendInt8, .appendF32: 2 * row + blockByteCount / Int(NK_KV_BLOCK)
        case .argmax, .sumExp: row
        }
    }
}
