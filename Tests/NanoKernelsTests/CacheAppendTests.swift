import CNanoKernels
import NanoTestSupport
import Testing

/// Two KV heads, three blocks, all bytes set, and one token appended to the middle block.
struct AppendedToken {
    let type: nk_kv_type
    let headDim: Int
    let position: Int
    var key: [Float]  // (2, D)
    var value: [Float]  // (2, D)
    private(set) var memory: [UInt8] = []

    var headBytes: Int { nk_kv_head_bytes(type, Int32(headDim)) }
    private var slot: Int { position % 64 }

    init(type: nk_kv_type, headDim: Int, position: Int, key: [Float]? = nil) {
        var generator = SeededGenerator(seed: UInt64(position))
        self.type = type
        self.headDim = headDim
        self.position = position
        self.key = key ?? generator.floats(2 * headDim)
        value = generator.floats(2 * headDim, in: -3...3)
    }

    mutating func append(with set: KernelSet) {
        let headBytes = headBytes
        var bytes = [UInt8](repeating: 0xff, count: 3 * 2 * headBytes)
        bytes.withUnsafeMutableBufferPointer {
            let layer = nk_kv_layer(
                base: $0.baseAddress, block_stride: 2 * headBytes, head_stride: headBytes,
                type: type)
            set.kernels.kv_append(key, value, 2, Int32(headDim), layer, 1, Int32(position))
        }
        memory = bytes
    }

    /// What the layout in nano_kernels.h makes of the token.
    func expected() -> [UInt8] {
        var bytes = [UInt8](repeating: 0xff, count: 3 * 2 * headBytes)
        bytes.withUnsafeMutableBytes { bytes in
            for head in 0..<2 {
                let start = (2 + head) * headBytes
                let range = (head * headDim)..<((head + 1) * headDim)
                store(Array(key[range]), isKey: true, in: bytes, at: start)
                store(Array(value[range]), isKey: false, in: bytes, at: start)
            }
        }
        return bytes
    }

    private func store(
        _ x: [Float], isKey: Bool, in bytes: UnsafeMutableRawBufferPointer, at start: Int
    ) {
        let width = type == NK_KV_F32 ? 4 : type == NK_KV_BF16 ? 2 : 1
        let packed = 4 / width  // neighbours of the summed axis in 4 bytes
        let scale = (x.map(abs).max() ?? 0) / 127
        for (d, number) in x.enumerated() {
            let index =
                isKey
                ? (d / packed * 64 + slot) * packed + d % packed
                : (slot / packed * headDim + d) * packed + slot % packed
            let offset = start + ((isKey ? 0 : 64 * headDim) + index) * width
            if type == NK_KV_F32 {
                bytes.storeBytes(of: number, toByteOffset: offset, as: Float.self)
            } else if type == NK_KV_BF16 {
                bytes.storeBytes(of: nearestBF16(number), toByteOffset: offset, as: UInt16.self)
            } else {
                let rounded = scale > 0 ? Int((number / scale).rounded(.toNearestOrEven)) : 0
                bytes[offset] = UInt8(truncatingIfNeeded: isKey ? rounded + 128 : rounded)
            }
        }
        guard type == NK_KV_INT8 else { return }
        let offset = start + 2 * 64 * headDim + (isKey ? 0 : 256) + 4 * slot
        bytes.storeBytes(of: scale, toByteOffset: offset, as: Float.self)
    }
}

@Suite struct CacheAppendTests {
    @Test(arguments: KernelSet.supported, [NK_KV_F32, NK_KV_BF16, NK_KV_INT8])
    func appendingATokenWritesItsSlotAndNothingElse(set: KernelSet, type: nk_kv_type) {
        for headDim in [4, 8, 12, 64, 80, 128] + (type == NK_KV_INT8 ? [] : [6]) {
            for position in [0, 5, 15, 16, 31, 63, 64, 106] {
                var token = AppendedToken(type: type, headDim: headDim, position: position)
                token.append(with: set)
                let differs = zip(token.memory, token.expected()).contains { $0 != $1 }
                #expect(!differs, "position \(position), heads of \(headDim)")
            }
        }
    }

    @Test func aHeadTakesItsPanelsAndInInt8ItsScales() {
        #expect(nk_kv_head_bytes(NK_KV_F32, 80) == 2 * 64 * 80 * 4)
        #expect(nk_kv_head_bytes(NK_KV_BF16, 80) == 2 * 64 * 80 * 2)
        #expect(nk_kv_head_bytes(NK_KV_INT8, 80) == 2 * 64 * 80 + 2 * 64 * 4)
    }

    /// Each number comes back from the slots of its 4 bytes within half a step of the cache's type.
    @Test(arguments: KernelSet.supported)
    func anInt8CacheGivesBackATokenWithinHalfItsScale(set: KernelSet) {
        var token = AppendedToken(type: NK_KV_INT8, headDim: 64, position: 37)
        token.append(with: set)
        token.memory.withUnsafeBytes { bytes in
            for head in 0..<2 {
                let start = (2 + head) * token.headBytes
                let scales = start + 2 * 64 * 64
                let keyScale = bytes.loadUnaligned(fromByteOffset: scales + 4 * 37, as: Float.self)
                let valueScale = bytes.loadUnaligned(
                    fromByteOffset: scales + 256 + 4 * 37, as: Float.self)
                for d in 0..<64 {
                    let key = Float(bytes[start + (d / 4 * 64 + 37) * 4 + d % 4]) - 128
                    let value = Float(
                        Int8(bitPattern: bytes[start + 4096 + (9 * 64 + d) * 4 + 1]))
                    let (k, v) = (token.key[head * 64 + d], token.value[head * 64 + d])
                    #expect(abs(key * keyScale - k) <= 0.5001 * keyScale)
                    #expect(abs(value * valueScale - v) <= 0.5001 * valueScale)
                }
            }
        }
    }

    @Test(arguments: KernelSet.supported)
    func anInt8KeyOfZerosHasScaleZero(set: KernelSet) {
        var token = AppendedToken(
            type: NK_KV_INT8, headDim: 16, position: 3, key: [Float](repeating: 0, count: 32))
        token.append(with: set)
        #expect(!zip(token.memory, token.expected()).contains { $0 != $1 })
    }
}
