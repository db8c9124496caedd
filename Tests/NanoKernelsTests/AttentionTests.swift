import CNanoKernels
import NanoTestSupport
import Testing

struct AttentionShape: Sendable, CustomTestStringConvertible {
    static let types = [NK_KV_F32, NK_KV_BF16, NK_KV_INT8]

    var type: nk_kv_type
    var heads: Int
    var headDim: Int

    /// All numbers of heads that share tiles differently, and head dimensions that kernels of 8 or
    /// 16 lanes take or leave to their portable twin.
    static let all: [AttentionShape] = types.flatMap { type in
        [
            (1, 16), (2, 8), (3, 64), (4, 128), (5, 24), (7, 80), (9, 16), (16, 32), (1, 256),
            (3, type == NK_KV_INT8 ? 12 : 10),
        ].map { AttentionShape(type: type, heads: $0.0, headDim: $0.1) }
    }
    /// A few for long contexts.
    static let few: [AttentionShape] = types.flatMap { type in
        [(3, 16), (8, 16), (2, 4), (3, 64)].map {
            AttentionShape(type: type, heads: $0.0, headDim: $0.1)
        }
    }

    var testDescription: String {
        let name = type == NK_KV_F32 ? "f32" : type == NK_KV_BF16 ? "bf16" : "int8"
        return "\(name), \(heads) heads of \(headDim)"
    }

    func isRounded(by set: KernelSet) -> Bool {
        set.roundsOperands(of: type, headDim: headDim)
    }

    func sequence(tokens: Int, seed: UInt64, blockSeed: UInt64 = 1) -> AttentionCase {
        AttentionCase(
            type: type, heads: heads, headDim: headDim, tokens: tokens, seed: seed,
            blockSeed: blockSeed)
    }

    /// 80 tokens, one of which has a bad number in each of its keys or values.
    func spoiled(token: Int, inKeys: Bool, with bad: Float) -> AttentionCase {
        var sequence = sequence(tokens: 80, seed: 8)
        sequence.spoil(token: token, keys: inKeys, with: bad)
        sequence.append(tokens: 0..<80)
        return sequence
    }
}

@Suite struct AttentionTests {
    @Test(arguments: KernelSet.supported, AttentionShape.all)
    func attentionIsCloseToItsDoublePrecisionReference(set: KernelSet, shape: AttentionShape) {
        var sequence = shape.sequence(tokens: 150, seed: 1)
        sequence.append(tokens: 0..<150)
        for positions in [0..<3, 61..<66, 127..<130, 149..<150] {
            let reference = AttentionReference(
                sequence, positions: positions, rounded: shape.isRounded(by: set))
            let worst = reference.worst(of: sequence.attend(set, positions: positions))
            #expect(worst <= 1, "positions \(positions)")
        }
    }

    @Test(arguments: KernelSet.supported, AttentionShape.few)
    func longContextsAreCloseToTheirReference(set: KernelSet, shape: AttentionShape) {
        var sequence = shape.sequence(tokens: 1500, seed: 5)
        sequence.append(tokens: 0..<1500)
        for position in [511, 512, 1023, 1024, 1499] {
            let positions = position..<(position + 1)
            let reference = AttentionReference(
                sequence, positions: positions, rounded: shape.isRounded(by: set))
            let worst = reference.worst(of: sequence.attend(set, positions: positions))
            #expect(worst <= 1, "position \(position)")
        }
    }

    /// Decoding sees NaN in the slots of the tokens to come; a chunk sees the tokens themselves.
    @Test(arguments: KernelSet.supported, AttentionShape.all)
    func aRowHasTheSameBitsAloneAndInEveryChunk(set: KernelSet, shape: AttentionShape) {
        expectChunksEqualDecoding(
            set, shape, tokens: 134, chunks: [2, 3, 5, 8, 15, 17, 31, 64, 70, 134])
    }

    @Test(arguments: KernelSet.supported, AttentionShape.few)
    func chunksEqualDecodingAcrossTheEdgesOfItems(set: KernelSet, shape: AttentionShape) {
        expectChunksEqualDecoding(set, shape, tokens: 1050, from: 490, chunks: [7, 100, 560])
    }

    private func expectChunksEqualDecoding(
        _ set: KernelSet, _ shape: AttentionShape, tokens: Int, from start: Int = 0, chunks: [Int]
    ) {
        var sequence = shape.sequence(tokens: tokens, seed: 2)
        sequence.append(tokens: 0..<start)
        var decoded: [Float] = []
        for position in start..<tokens {
            sequence.append(tokens: position..<(position + 1))
            decoded += sequence.attend(set, positions: position..<(position + 1))
        }
        #expect(decoded.allSatisfy { $0.isFinite })
        for (blockSeed, length) in chunks.enumerated() {
            var chunked = shape.sequence(tokens: tokens, seed: 2, blockSeed: UInt64(blockSeed + 2))
            chunked.append(tokens: 0..<start)
            var out: [Float] = []
            for first in stride(from: start, to: tokens, by: length) {
                let chunk = first..<min(first + length, tokens)
                chunked.append(tokens: chunk)
                out += chunked.attend(set, positions: chunk)
            }
            #expect(firstDifference(out, decoded) == nil, "chunks of \(length)")
        }
    }

    @Test(arguments: KernelSet.supported, AttentionShape.few)
    func itemsMergeToTheBitsOfTheWhole(set: KernelSet, shape: AttentionShape) {
        var sequence = shape.sequence(tokens: 1500, seed: 6)
        sequence.append(tokens: 0..<1500)
        for context in [1, 64, 100, 511, 512, 513, 1024, 1025, 1500] {
            let whole = sequence.attend(set, positions: (context - 1)..<context)
            let merged = sequence.attendInItems(set, position: context - 1)
            #expect(firstDifference(merged, whole) == nil, "\(context) tokens")
        }
    }

    @Test(arguments: KernelSet.supported, AttentionShape.all)
    func whatIsReadNextDoesNotChangeAResult(set: KernelSet, shape: AttentionShape) {
        var sequence = shape.sequence(tokens: 140, seed: 7)
        sequence.append(tokens: 0..<140)
        let plain = sequence.attend(set, positions: 100..<140)
        let hinted = sequence.attend(set, positions: 100..<140, hint: true)
        #expect(firstDifference(hinted, plain) == nil)
    }

    @Test(arguments: KernelSet.fast, AttentionShape.all)
    func attentionIsCloseToItsPortableTwin(set: KernelSet, shape: AttentionShape) {
        var sequence = shape.sequence(tokens: 300, seed: 3)
        sequence.append(tokens: 0..<300)
        let twin = sequence.attend(.portable, positions: 297..<300)
        let fast = sequence.attend(set, positions: 297..<300)
        // Each is within its own tolerance of its own reference.
        let a = AttentionReference(sequence, positions: 297..<300, rounded: true)
        let b = AttentionReference(
            sequence, positions: 297..<300, rounded: shape.isRounded(by: set))
        for i in twin.indices {
            let apart = abs(a.values[i] - b.values[i]) + a.tolerances[i] + b.tolerances[i]
            #expect(abs(Double(twin[i]) - Double(fast[i])) <= apart)
        }
    }

    @Test(arguments: KernelSet.supported, AttentionShape.types)
    func theFirstTokenAttendsToItselfAlone(set: KernelSet, type: nk_kv_type) {
        var sequence = AttentionCase(type: type, heads: 2, headDim: 32, tokens: 1, seed: 4)
        sequence.append(tokens: 0..<1)
        let out = sequence.attend(set, positions: 0..<1).map(Double.init)
        let reference = AttentionReference(sequence, positions: 0..<1, rounded: true)
        for (given, expected) in zip(out, reference.values) {
            // 8-bit weights and values take their scales with them.
            let tolerance = type == NK_KV_INT8 ? 4 * unitRoundoff * abs(expected) : 0
            #expect(abs(given - expected) <= tolerance)
        }
    }

    /// A row may share its piece with later rows, whose tokens it does not see.
    @Test(arguments: KernelSet.supported, AttentionShape.all)
    func aTokenThatIsNotFiniteStaysOutOfTheRowsBeforeIt(set: KernelSet, shape: AttentionShape) {
        var sound = shape.sequence(tokens: 80, seed: 8)
        sound.append(tokens: 0..<80)
        let expected = sound.attend(set, positions: 64..<71)
        for (inKeys, bad) in spoilers {
            var sequence = shape.spoiled(token: 71, inKeys: inKeys, with: bad)
            let out = sequence.attend(set, positions: 64..<80)
            let before = Array(out.prefix(expected.count))
            #expect(
                firstDifference(before, expected) == nil, "\(bad) in \(inKeys ? "keys" : "values")")
        }
    }

    @Test(arguments: KernelSet.supported, AttentionShape.all)
    func aTokenThatIsNotFiniteShowsInTheRowsThatSeeIt(set: KernelSet, shape: AttentionShape) {
        for (inKeys, bad) in spoilers {
            var sequence = shape.spoiled(token: 71, inKeys: inKeys, with: bad)
            let out = sequence.attend(set, positions: 71..<80)
            let heads = stride(from: 0, to: out.count, by: shape.headDim)
                .map { out[$0..<($0 + shape.headDim)] }
            let showing = heads.count { $0.contains { !$0.isFinite } }
            #expect(showing == heads.count, "\(bad) in \(inKeys ? "keys" : "values")")
        }
    }

    private var spoilers: [(inKeys: Bool, bad: Float)] {
        [(false, .nan), (true, .nan), (false, .infinity)]
    }
}
