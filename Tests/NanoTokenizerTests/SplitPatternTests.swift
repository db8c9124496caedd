import NanoTestSupport
import NanoTokenizer
import Testing

@Suite struct SplitPatternTests {
    private func pieces(_ pattern: SplitPattern, _ text: String) -> [String] {
        var result: [String] = []
        Array(text.utf8).withUnsafeBufferPointer { utf8 in
            pattern.forEachPiece(of: utf8) { result.append(String(decoding: $0, as: UTF8.self)) }
        }
        return result
    }

    @Test func whatNoMatchCoversIsAPieceToo() throws {
        let pattern = try SplitPattern("[0-9]+")
        #expect(pieces(pattern, "ab12c345") == ["ab", "12", "c", "345"])
        #expect(pieces(pattern, "12é") == ["12", "é"])
        #expect(pieces(pattern, "é") == ["é"])
        #expect(pieces(pattern, "").isEmpty)
        #expect(pieces(try SplitPattern("a*"), "baab") == ["b", "aa", "b"])
    }

    @Test func anImpossiblePatternIsRefused() {
        let error = #expect(throws: TokenizerError.self) { try SplitPattern("a(b") }
        #expect(error.map(String.init(describing:))?.contains("offset 3") == true)
    }

    /// Ours need no stack to speak of; this pattern remembers a place for each repetition, first
    /// beyond the 32 KiB that PCRE2 starts with, then beyond the largest stack there is.
    @Test(arguments: [1_000, 20_000, 1_000_000])
    func backtrackingGetsTheMemoryItNeeds(_ count: Int) throws {
        let pattern = try SplitPattern("(?:(a)|(b))+c|a+")
        let text = String(repeating: "a", count: count)
        #expect(pieces(pattern, text) == [text])
        #expect(pieces(pattern, text + "c") == [text + "c"])
    }

    @Test(arguments: PreTokenizer.allCases)
    func piecesJoinedAreTheText(_ preTokenizer: PreTokenizer) throws {
        let pattern = try SplitPattern(preTokenizer.pattern)
        for seed in 0..<500 as Range<UInt64> {
            var random = SeededGenerator(seed: seed)
            let text = random.text(maxCount: 100)
            let joined = pieces(pattern, text).joined()
            #expect(joined.scalarValues == text.scalarValues, "seed \(seed)")
        }
    }

    /// A run of spaces before a word keeps its last space for the word, however long it is.
    @Test(arguments: PreTokenizer.allCases)
    func aMillionOfAnythingIsSplit(_ preTokenizer: PreTokenizer) throws {
        let pattern = try SplitPattern(preTokenizer.pattern)
        let spaces = String(repeating: " ", count: 1_000_000)
        #expect(pieces(pattern, spaces) == [spaces])
        #expect(pieces(pattern, spaces + "x") == [String(spaces.dropLast()), " x"])
        let lines = String(repeating: " \n", count: 500_000)
        #expect(pieces(pattern, lines).count == 1)
        let word = String(repeating: "é", count: 1_000_000)
        #expect(pieces(pattern, word) == [word])
        let emoji = String(repeating: "👩🏽‍🚀", count: 100_000)
        #expect(pieces(pattern, emoji) == [emoji])
    }

    @Test(arguments: [
        ("phi-2", PreTokenizer.gpt2), ("smollm", .smolLM), ("deepseek-r1-qwen", .qwen2),
        ("llama3", .llama3), ("llama-v3", .llama3),
    ])
    func rulesAreKnownByTheirAliases(_ name: String, _ preTokenizer: PreTokenizer) {
        #expect(PreTokenizer(name: name) == preTokenizer)
        #expect(PreTokenizer(name: "default") == nil)
        #expect(PreTokenizer(name: "") == nil)
    }
}
