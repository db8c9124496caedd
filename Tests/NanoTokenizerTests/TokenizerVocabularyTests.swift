import NanoTestSupport
import NanoTokenizer
import Testing

/// What a vocabulary may say, and what it is refused for.
@Suite struct TokenizerVocabularyTests {
    private func refusal(_ change: (inout TokenizerVocabulary) -> Void) -> TokenizerError? {
        var vocabulary = tinyVocabulary(merges: ["a b", "ab c"], added: [("<|end|>", .control)])
        change(&vocabulary)
        return #expect(throws: TokenizerError.self) { try Tokenizer(vocabulary) }
    }

    @Test func brokenTokensAreRefused() {
        #expect(
            refusal {
                $0.tokens = []; $0.kinds = []
            } == .noTokens)
        #expect(refusal { $0.kinds.removeLast() } == .kindCountDiffers(kinds: 258, tokens: 259))
        #expect(refusal { $0.tokens[7] = "" } == .emptyToken(index: 7))
        #expect(refusal { $0.tokens[258] = "" } == .emptyToken(index: 258))
        #expect(refusal { $0.tokens[258] = "A" } == .duplicateToken(index: 258, first: 65))
        let long = String(repeating: "x", count: 1025)
        #expect(
            refusal { $0.tokens[258] = long }
                == .addedTokenTooLong(index: 258, byteCount: 1025, limit: 1024))
        #expect(refusal { $0.preTokenizer = "rot13" } == .unknownPreTokenizer(name: "rot13"))
        let words = TokenizerVocabulary(
            tokens: ["hello", "world"], kinds: [.normal, .normal], merges: [],
            preTokenizer: "gpt-2")
        #expect(throws: TokenizerError.noByteTokens) { try Tokenizer(words) }
    }

    @Test func tooManyTokensAreRefused() {
        let many = 5_000_000
        #expect(
            refusal { $0.tokens = .init(repeating: "a", count: many) }
                == .tooManyEntries(field: "tokenizer.ggml.tokens", count: many, limit: 1 << 22))
        #expect(
            refusal { $0.merges = .init(repeating: "a b", count: 2 * many) }
                == .tooManyEntries(field: "tokenizer.ggml.merges", count: 2 * many, limit: 1 << 23))
    }

    @Test func idsOutsideTheVocabularyAreRefused() {
        let field = "tokenizer.ggml.eos_token_id"
        for id in [259, -1, Int.max, Int.min] {
            #expect(
                refusal { $0.endOfSequence = id }
                    == .idOutOfRange(field: field, id: id, vocabularyCount: 259))
        }
        #expect(refusal { $0.beginningOfSequence = 259 } != nil)
        #expect(refusal { $0.endOfTurn = 259 } != nil)
        #expect(refusal { $0.padding = 259 } != nil)
        #expect(refusal { $0.unknown = 259 } != nil)
    }

    @Test func brokenMergesAreRefusedByTheirIndex() {
        for merge in ["", " ", "ab", "a ", " b", "a  b", "a b c"] {
            #expect(
                refusal { $0.merges[1] = merge } == .malformedMerge(index: 1, merge: merge))
        }
        #expect(
            refusal { $0.merges.append("a xyz") }
                == .unknownTokenInMerge(index: 2, spelling: "xyz"))
        #expect(
            refusal { $0.merges.append("xyz a") }
                == .unknownTokenInMerge(index: 2, spelling: "xyz"))
        #expect(
            refusal { $0.merges.append("b a") }
                == .unknownTokenInMerge(index: 2, spelling: "ba"))
        #expect(refusal { $0.merges.append("a b") } == .duplicateMerge(index: 2, first: 0))
    }

    @Test func refusalsAreSentencesOfBoundedLength() {
        let long = String(repeating: "x", count: 100_000)
        let message = refusal { $0.merges[1] = long }.map(String.init(describing:)) ?? ""
        #expect(message.hasPrefix("tokenizer.ggml.merges: merge 1, \"xxx"))
        #expect(message.utf8.count < 200)
    }

    @Test func randomVocabulariesAreTakenOrRefused() {
        var takenCount = 0
        for seed in 0..<2000 as Range<UInt64> {
            var random = SeededGenerator(seed: seed)
            var vocabulary = tinyVocabulary(
                merges: ["a b", "ab c"], added: [("<|a|>", .control), ("→", .userDefined)])
            let indices = vocabulary.tokens.indices
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let index = Int.random(in: indices, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: vocabulary.tokens[index] = random.text(maxCount: 3)
                case 1: vocabulary.kinds[index] = .control
                case 2: vocabulary.merges.append(random.text(maxCount: 4))
                default: vocabulary.padding = Int(truncatingIfNeeded: random.next())
                }
            }
            guard let tokenizer = try? Tokenizer(vocabulary) else { continue }
            takenCount += 1
            let tokens = tokenizer.encode(random.text(maxCount: 30), parseSpecialTokens: true)
            #expect(tokens.allSatisfy(indices.contains), "seed \(seed)")
        }
        #expect((200..<1800).contains(takenCount))
    }

    @Test func bytesWithoutATokenAreLeftOut() throws {
        var vocabulary = tinyVocabulary(merges: ["a b"])
        vocabulary.tokens[Int(UInt8(ascii: "-"))] = "unused"
        let tokenizer = try Tokenizer(vocabulary)
        #expect(tokenizer.bytesWithoutToken == [UInt8(ascii: "-")])
        #expect(tokenizer.encode("a-b", parseSpecialTokens: false) == [97, 98])
        #expect(tokenizer.encode("--ab-", parseSpecialTokens: false) == [256])
    }

    @Test func theLongestAddedTokenIsTakenFromTheLeft() throws {
        let tokenizer = try Tokenizer(
            tinyVocabulary(added: [
                ("<a>", .control), ("<a><b>", .control), ("b><c", .userDefined),
                ("→", .userDefined),
            ]))
        #expect(tokenizer.encode("<a><b><c", parseSpecialTokens: true) == [257, 60, 99])
        #expect(tokenizer.encode("<a>b><c", parseSpecialTokens: true) == [256, 258])
        #expect(tokenizer.encode("<a>b><c", parseSpecialTokens: false) == [60, 97, 62, 258])
        #expect(tokenizer.encode("→", parseSpecialTokens: false) == [259])
        #expect(tokenizer.decode([259, 258], skipSpecialTokens: true) == "→b><c")
    }

    @Test func beginningOfSequenceIsAddedWhenAskedForTwice() throws {
        var vocabulary = tinyVocabulary(added: [("<s>", .control)])
        vocabulary.beginningOfSequence = 256
        let silent = try Tokenizer(vocabulary)
        #expect(silent.encode("a", addSpecialTokens: true, parseSpecialTokens: true) == [97])
        vocabulary.addsBeginningOfSequence = true
        let tokenizer = try Tokenizer(vocabulary)
        #expect(
            tokenizer.encode("a", addSpecialTokens: true, parseSpecialTokens: true) == [256, 97])
        #expect(tokenizer.encode("a", parseSpecialTokens: true) == [97])
    }

    @Test func turnsEndByTheTokensThatChatModelsUse() throws {
        var vocabulary = tinyVocabulary(added: [
            ("<|eot_id|>", .control), ("<|im_end|>", .userDefined), ("<|eom_id|>", .control),
            ("</s>", .control),
        ])
        vocabulary.endOfSequence = 259
        #expect(try Tokenizer(vocabulary).endOfGenerationTokens == [256, 258, 259])
    }

    @Test func wholePiecesComeFirstForLlama3Only() throws {
        // "abc" is a token that no merge makes.
        for (name, tokens) in [("llama-bpe", [257]), ("gpt-2", [256, 99])] {
            var vocabulary = tinyVocabulary(merges: ["a b"], preTokenizer: name)
            vocabulary.tokens.append("abc")
            vocabulary.kinds.append(.normal)
            let tokenizer = try Tokenizer(vocabulary)
            #expect(tokenizer.encode("abc", parseSpecialTokens: false) == tokens)
            #expect(tokenizer.encode("abcd", parseSpecialTokens: false) == [256, 99, 100])
        }
    }
}
