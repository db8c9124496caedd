import CNanoKernels
import Testing

struct AttentionShape: Sendable, CustomTestStringConvertible {
    var type: nk_kv_type
    var heads: Int
    var headDim: Int

    static let all: [AttentionShape] = [NK_KV_F32, NK_KV_BF16].flatMap { type in
        [
            (1, 16), (3, 64), (4, 128), (7, 80), (3, 10), (16, 32), (9, 16), (1, 256), (5, 24),
            (2, 8),
        ].map {
            AttentionShape(type: type, heads: $0.0, headDim: $0.1)
        }
    }

    var testDescription: String {
        "\(type == NK_KV_BF16 ? "bf16" : "f32"), \(heads) heads of \(headDim)"
    }

    func sequence(tokens: Int, seed: UInt64, blockSeed: UInt64 = 1) -> AttentionCase {
        AttentionCase(
            type: type, heads: heads, headDim: headDim, tokens: tokens, seed: seed,
            blockSeed: blockSeed)
    }
}

@Suite struct AttentionTests {
    // Values lie in -1...1 and scores in about -30...30, so a score, and with it a weight, is off
    // by a few 1e-6.
    static let tolerance = 1e-5

    @Test(arguments: KernelSet.supported, AttentionShape.all)
    func attentionIsCloseToItsDoublePrecisionReference(set: KernelSet, shape: AttentionShape) {
        var sequence = shape.sequence(tokens: 53, seed: 1)
        sequence.append(tokens: 0..<53)
        let out = sequence.attend(set, positions: 0..<53)
        let worst = zip(out, sequence.reference()).map { abs(Double($0) - $1) }
            .reduce(0) { $1.isNaN ? .infinity : max($0, $1) }
        #expect(worst <= Self.tolerance)
    }

    /// Decoding sees NaN in the slots of the tokens to come; a chunk sees the tokens themselves.
    @Test(arguments: KernelSet.supported, AttentionShape.all)
    func aRowHasTheSameBitsAloneAndInEveryChunk(set: KernelSet, shape: AttentionShape) {
        let tokens = 70
        var sequence = shape.sequence(tokens: tokens, seed: 2)
        var decoded: [Float] = []
        for position in 0..<tokens {
            sequence.append(tokens: position..<(position + 1))
            decoded += sequence.attend(set, positions: position..<(position + 1))
        }
        #expect(decoded.allSatisfy { $0.isFinite })
        for (blockSeed, length) in [2, 3, 5, 8, 15, 16, 17, 31, 64, 70].enumerated() {
            var chunked = shape.sequence(tokens: tokens, seed: 2, blockSeed: UInt64(blockSeed + 2))
            var out: [Float] = []
            for first in stride(from: 0, to: tokens, by: length) {
                let chunk = first..<min(first + length, tokens)
                chunked.append(tokens: chunk)
                out += chunked.attend(set, positions: chunk)
            }
            #expect(firstDifference(out, decoded) == nil, "chunks of \(length)")
        }
    }

    @Test(arguments: KernelSet.fast, AttentionShape.all)
    func attentionIsCloseToItsPortableTwin(set: KernelSet, shape: AttentionShape) {
        var sequence = shape.sequence(tokens: 300, seed: 3)
        sequence.append(tokens: 0..<300)
        let twin = sequence.attend(.portable, positions: 250..<300)
        let fast = sequence.attend(set, positions: 250..<300)
        let worst = zip(twin, fast).map { abs(Double($0) - Double($1)) }
            .reduce(0) { $1.isNaN ? .infinity : max($0, $1) }
        #expect(worst <= 2 * Self.tolerance)
    }

    @Test(arguments: KernelSet.supported, [NK_KV_F32, NK_KV_BF16])
    func theFirstTokenAttendsToItselfAlone(set: KernelSet, type: nk_kv_type) {
        var sequence = AttentionCase(type: type, heads: 2, headDim: 32, tokens: 1, seed: 4)
        sequence.append(tokens: 0..<1)
        let out = sequence.attend(set, positions: 0..<1).map(Double.init)
        #expect(out == sequence.reference())
    }
}
