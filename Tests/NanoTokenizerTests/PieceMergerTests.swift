import NanoTestSupport
import NanoTokenizer
import Testing

@Suite struct PieceMergerTests {
    private func tokens(
        _ text: String, _ tokenizer: Tokenizer, maxSearchedPieceCount: Int
    ) -> (tokens: [Int], heapEntryCount: Int) {
        var merger = tokenizer.makeMerger(maxSearchedPieceCount: maxSearchedPieceCount)
        var result: [Int] = []
        Array(text.utf8).withUnsafeBufferPointer { merger.appendTokens(of: $0, to: &result) }
        return (result, merger.heapEntryCount)
    }

    @Test func theHeapMergesAsTheSearchDoes() throws {
        let tokenizer = try Tokenizer(smolLM2Vocabulary())
        for seed in 0..<500 as Range<UInt64> {
            var random = SeededGenerator(seed: seed)
            let text = random.text(maxCount: 80)
            let searched = tokens(text, tokenizer, maxSearchedPieceCount: .max)
            let heaped = tokens(text, tokenizer, maxSearchedPieceCount: 0)
            #expect(searched.tokens == heaped.tokens, "seed \(seed)")
            #expect(searched.heapEntryCount == 0)
        }
    }

    @Test func equalRanksMergeFromTheLeft() throws {
        let tokenizer = try Tokenizer(tinyVocabulary(merges: ["a a", "b aa"]))
        for limit in [0, 100] {
            #expect(
                tokens("baaaaa", tokenizer, maxSearchedPieceCount: limit).tokens == [257, 256, 97])
        }
    }

    /// Each byte is put into the heap once, and each merge, of which there are fewer than bytes,
    /// puts two more in.
    @Test(arguments: ["a", " ", "🙂", "👩‍👩‍👧‍👦", "\n", "the", "1", "é", "=", "\0", "ab\u{301}"])
    func workOnAMegabyteOfOneWordIsBoundedByItsLength(_ unit: String) throws {
        let tokenizer = try Tokenizer(smolLM2Vocabulary())
        let text = String(repeating: unit, count: (1 << 20) / unit.utf8.count)
        let clock = ContinuousClock()
        var encoded: [Int] = []
        let duration = clock.measure { encoded = tokenizer.encode(text, parseSpecialTokens: true) }
        let (merged, work) = tokens(text, tokenizer, maxSearchedPieceCount: 0)
        #expect(work < 3 * text.utf8.count)
        #expect(tokenizer.decode(merged, skipSpecialTokens: false).utf8.count == text.utf8.count)
        #expect(tokenizer.decode(encoded, skipSpecialTokens: false).utf8.count == text.utf8.count)
        print("1 MiB of \(unit.debugDescription): \(encoded.count) tokens in \(duration)")
    }

    /// Every merge of the chain sets off the next one: aaaa… joins to ever longer tokens.
    @Test func deeplyMergingVocabulariesStayBounded() throws {
        var merges = ["a a"]
        for power in 1..<16 {
            let half = String(repeating: "a", count: 1 << power)
            merges.append("\(half) \(half)")
        }
        for count in 1..<400 {
            merges.append(String(repeating: "b", count: count) + " b")
        }
        let tokenizer = try Tokenizer(tinyVocabulary(merges: merges))
        for unit in ["a", "b", "ab"] {
            let text = String(repeating: unit, count: (1 << 20) / unit.utf8.count)
            let (merged, work) = tokens(text, tokenizer, maxSearchedPieceCount: 48)
            #expect(work < 3 * text.utf8.count)
            #expect(tokenizer.decode(merged, skipSpecialTokens: false) == text)
        }
    }
}
