import CNanoKernels
import NanoDevice
import Testing

/// What a part announces beforehand is what it cuts.
@Suite struct MemoryTests {
    /// The sizes that a model has, and odd ones.
    static let shapes = [(1, 1), (3, 5), (31, 33), (32, 32), (63, 97), (576, 960), (1537, 1)]
    static let formats: [MatrixFormat] = [
        .f32, .bf16, .int8(groupSize: 32), .int8(groupSize: 64), .int8(groupSize: 192),
        .int8(groupSize: 1 << 24),
    ]

    @Test func arenasAreZeroedAlignedAndCutWithoutOverlap() throws {
        let arena = try #require(MemoryArena(name: "test", byteCount: 10_000))
        #expect(arena.byteCount == 12_288)
        let first = arena.cut(UInt8.self, count: 1)
        let second = arena.cut(Double.self, count: 9)
        let third = arena.cut(Int32.self, count: 16)
        #expect(first.allSatisfy { $0 == 0 } && second.allSatisfy { $0 == 0 })
        let addresses = [address(first), address(second), address(third)]
        #expect(addresses.allSatisfy { $0 % MemoryArena.alignment == 0 })
        #expect(addresses[1] - addresses[0] == 64)
        #expect(addresses[2] - addresses[1] == 128)
    }

    @Test(arguments: [0, 1, 63, 64, 65, 1000])
    func aPartsByteCountIsWholeCacheLines(count: Int) {
        let bytes = MemoryArena.byteCount(Float.self, count)
        #expect(bytes % MemoryArena.alignment == 0)
        #expect(bytes >= 4 * count && bytes < 4 * count + MemoryArena.alignment)
    }

    @Test func whatTheSystemCannotMapIsNil() {
        #expect(MemoryArena(name: "too large", byteCount: 1 << 60) == nil)
    }

    @Test(arguments: formats, [false, true])
    func aMatrixCutsWhatItAnnounces(format: MatrixFormat, hasBias: Bool) throws {
        for (inputs, outputs) in Self.shapes {
            let announced = PackedMatrix.byteCount(
                inputs: inputs, outputs: outputs, format: format, hasBias: hasBias)
            let used = try cutBytes { arena in
                let matrix = PackedMatrix(
                    inputs: inputs, outputs: outputs, format: format, hasBias: hasBias,
                    arena: arena)
                #expect(matrix.panelCount == (outputs + 31) / 32)
                #expect(matrix.paddedOutputs == 32 * matrix.panelCount)
            }
            #expect(used == announced, "\(inputs) x \(outputs)")
        }
    }

    @Test(arguments: formats)
    func activationsCutWhatTheyAnnounce(format: MatrixFormat) throws {
        for (width, capacity) in Self.shapes {
            let announced = ActivationRows.byteCount(
                capacity: capacity, width: width, format: format)
            let used = try cutBytes { arena in
                _ = ActivationRows(capacity: capacity, width: width, format: format, arena: arena)
            }
            #expect(used == announced, "\(capacity) x \(width)")
        }
    }

    @Test(arguments: [NK_KV_F32, NK_KV_BF16])
    func theCacheCutsWhatItAnnounces(type: nk_kv_type) throws {
        let block = KVArena.blockByteCount(layers: 3, kvHeads: 2, headDimension: 24, type: type)
        let used = try cutBytes { arena in
            let cache = KVArena(
                layers: 3, kvHeads: 2, headDimension: 24, type: type, blockCount: 5, arena: arena)
            let strides = cache.layer(1).block_stride
            #expect(cache.layer(2).base - cache.layer(1).base == 5 * strides)
            #expect(3 * strides == block)
        }
        #expect(used == MemoryArena.byteCount(UInt8.self, 5 * block))
    }

    @Test func paddingAndGroupsFollowTheFormat() {
        #expect(MatrixFormat.f32.paddedInputs(33) == 33)
        #expect(MatrixFormat.bf16.paddedInputs(33) == 34)
        #expect(MatrixFormat.int8(groupSize: 32).paddedInputs(33) == 36)
        #expect(MatrixFormat.bf16.groupCount(33) == 0)
        #expect(MatrixFormat.int8(groupSize: 32).groupCount(32) == 1)
        #expect(MatrixFormat.int8(groupSize: 32).groupCount(33) == 2)
        #expect(MatrixFormat.int8(groupSize: 1 << 24).groupCount(33) == 1)
        #expect([MatrixFormat.f32, .bf16, Self.formats[2]].map(\.elementByteCount) == [4, 2, 1])
    }

    /// The bytes between the arena's beginning and what is cut next.
    private func cutBytes(_ cut: (MemoryArena) -> Void) throws -> Int {
        let arena = try #require(MemoryArena(name: "test", byteCount: 64 << 20))
        let start = address(arena.cut(UInt8.self, count: 0))
        cut(arena)
        return address(arena.cut(UInt8.self, count: 0)) - start
    }

    private func address<Element>(_ buffer: UnsafeMutableBufferPointer<Element>) -> Int {
        Int(bitPattern: buffer.baseAddress)
    }
}
