import NanoTestSupport
import NanoTokenizer
import Testing

/// What holds for every text, tried on seeded random ones.
@Suite struct TokenizerLawTests {
    /// A vocabulary with all 256 bytes and some merges, so that every string can be encoded.
    static func completeTokenizer(preTokenizer: String) throws -> Tokenizer {
        let merges = [
            "e r", "a b", "Ġ a", "b c", "ab c", "Ġ Ġ", "ĠĠ ĠĠ", "Ð °", "a a", "aa aa", "1 2",
        ]
        return try Tokenizer(
            tinyVocabulary(
                merges: merges,
                added: [
                    ("<|im_start|>", .control), ("<|im_end|>", .control), ("<tool>", .userDefined),
                ],
                preTokenizer: preTokenizer))
    }

    @Test(arguments: PreTokenizer.allCases)
    func decodingGivesBackWhatWasEncoded(_ preTokenizer: PreTokenizer) throws {
        let tokenizer = try Self.completeTokenizer(preTokenizer: preTokenizer.rawValue)
        #expect(tokenizer.bytesWithoutToken.isEmpty)
        for seed in 0..<400 as Range<UInt64> {
            var random = SeededGenerator(seed: seed)
            let text = random.text(maxCount: 60)
            let tokens = tokenizer.encode(text, parseSpecialTokens: seed.isMultiple(of: 2))
            let decoded = tokenizer.decode(tokens, skipSpecialTokens: false)
            #expect(decoded.scalarValues == text.scalarValues, "seed \(seed)")
        }
    }

    @Test func decodingGivesBackWhatTheDefaultModelCanSpell() throws {
        let tokenizer = try Tokenizer(smolLM2Vocabulary())
        let missing = Set(tokenizer.bytesWithoutToken)
        #expect(missing.count == 21)
        for seed in 0..<400 as Range<UInt64> {
            var random = SeededGenerator(seed: seed)
            let text = String(
                decoding: random.text(maxCount: 60).utf8.filter { !missing.contains($0) },
                as: UTF8.self)
            let tokens = tokenizer.encode(text, parseSpecialTokens: true)
            let spelled = tokens.flatMap { tokenizer.bytes(of: $0) }
            #expect(spelled == text.utf8.filter { !missing.contains($0) }, "seed \(seed)")
        }
    }

    @Test func incrementalDecodingGivesTheSameTextAtEveryToken() throws {
        let tokenizer = try Tokenizer(smolLM2Vocabulary())
        for seed in 0..<300 as Range<UInt64> {
            var random = SeededGenerator(seed: seed)
            var tokens = tokenizer.encode(random.text(maxCount: 20), parseSpecialTokens: false)
            // Any tokens in any order: most of what they spell is broken.
            for _ in 0..<20 {
                tokens.append(Int.random(in: 0..<300, using: &random))
                tokens.append(Int.random(in: -2..<tokenizer.vocabularyCount + 2, using: &random))
            }
            let skips = seed.isMultiple(of: 2)
            var decoder = IncrementalDecoder(tokenizer, skipSpecialTokens: skips)
            var text = ""
            for (index, token) in tokens.enumerated() {
                text += decoder.append(token)
                let whole = tokenizer.decode(tokens[...index], skipSpecialTokens: skips)
                #expect(whole.scalarValues.starts(with: text.scalarValues), "seed \(seed)")
                var ended = decoder
                #expect(
                    (text + ended.finish()).scalarValues == whole.scalarValues,
                    "seed \(seed), token \(index)")
            }
        }
    }

    @Test func incrementalDecodingHoldsBackNothingThatIsSettled() throws {
        let tokenizer = try Self.completeTokenizer(preTokenizer: "gpt-2")
        var decoder = IncrementalDecoder(tokenizer, skipSpecialTokens: true)
        let returned = Array("aé🙂".utf8).map { decoder.append(Int($0)) }
        #expect(returned == ["a", "", "é", "", "", "", "🙂"])
        // E0 80 can begin no scalar, nor can ED A0 (surrogates) or F4 90 (above U+10FFFF).
        for broken in [[0xE0, 0x80], [0xED, 0xA0], [0xF4, 0x90], [0xF0, 0x8F], [0xC2, 0x41]] {
            #expect(decoder.append(broken[0]).isEmpty)
            #expect(decoder.append(broken[1]).hasPrefix("\u{FFFD}"))
        }
        #expect(decoder.append(0xC1) == "\u{FFFD}")
        #expect(decoder.finish().isEmpty)
    }

    @Test func concatenatedSpecialTokensAreTheirIDs() throws {
        let tokenizer = try Tokenizer(smolLM2Vocabulary())
        let special = (0..<tokenizer.vocabularyCount).filter(tokenizer.isSpecial)
        for seed in 0..<50 as Range<UInt64> {
            var random = SeededGenerator(seed: seed)
            let tokens = (0..<40).map { _ in
                special[Int.random(in: 0..<special.count, using: &random)]
            }
            let text = tokenizer.decode(tokens, skipSpecialTokens: false)
            #expect(tokenizer.encode(text, parseSpecialTokens: true) == tokens, "seed \(seed)")
            #expect(tokenizer.decode(tokens, skipSpecialTokens: true).isEmpty)
            let plain = tokenizer.encode(text, parseSpecialTokens: false)
            #expect(!plain.contains(where: tokenizer.isSpecial), "seed \(seed)")
            #expect(tokenizer.decode(plain, skipSpecialTokens: true) == text, "seed \(seed)")
        }
    }

    @Test func tasksShareATokenizer() async throws {
        let tokenizer = try Tokenizer(smolLM2Vocabulary())
        var random = SeededGenerator(seed: 1)
        let texts = (0..<100).map { _ in random.text(maxCount: 200) }
        let alone = texts.map { tokenizer.encode($0, parseSpecialTokens: true) }
        await withTaskGroup(of: [[Int]].self) { group in
            for _ in 0..<8 {
                group.addTask { texts.map { tokenizer.encode($0, parseSpecialTokens: true) } }
            }
            for await result in group { #expect(result == alone) }
        }
    }
}
