import Foundation
import NanoTokenizer
import Testing

/// What Hugging Face's tokenizers make of the same texts; see Scripts/make_tokenizer_goldens.py.
@Suite struct TokenizerGoldenTests {
    struct Golden: Decodable {
        struct Encoding: Decodable {
            var text: String
            var tokens: [Int]
            var tokensWithoutParsing: [Int]?
            var pieces: [String: [Int]]
        }

        struct Decoding: Decodable {
            var tokens: [Int]
            var text: String
            var textWithoutSpecialTokens: String
        }

        var encodings: [Encoding]
        var decodings: [Decoding]
    }

    let golden: Golden

    init() throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        let data = try Data(contentsOf: folder.appending(path: "Fixtures/tokenizer.json"))
        golden = try JSONDecoder().decode(Golden.self, from: data)
    }

    @Test func tokensAreThoseOfHuggingFace() throws {
        let tokenizer = try Tokenizer(smolLM2Vocabulary())
        #expect(golden.encodings.count > 200)
        for entry in golden.encodings {
            let parsed = tokenizer.encode(entry.text, parseSpecialTokens: true)
            #expect(parsed == entry.tokens, "\(entry.text.debugDescription)")
            let plain = tokenizer.encode(entry.text, parseSpecialTokens: false)
            #expect(
                plain == entry.tokensWithoutParsing ?? entry.tokens,
                "\(entry.text.debugDescription)")
        }
    }

    @Test(arguments: PreTokenizer.allCases)
    func piecesAreThoseOfHuggingFace(_ preTokenizer: PreTokenizer) throws {
        let pattern = try SplitPattern(preTokenizer.pattern)
        for entry in golden.encodings {
            var counts: [Int] = []
            Array(entry.text.utf8).withUnsafeBufferPointer { text in
                pattern.forEachPiece(of: text) { counts.append($0.count) }
            }
            #expect(
                counts == entry.pieces[preTokenizer.rawValue],
                "\(entry.text.debugDescription)")
        }
    }

    @Test func textIsThatOfHuggingFace() throws {
        let tokenizer = try Tokenizer(smolLM2Vocabulary())
        #expect(!golden.decodings.isEmpty)
        for entry in golden.decodings {
            let text = tokenizer.decode(entry.tokens, skipSpecialTokens: false)
            #expect(text.scalarValues == entry.text.scalarValues, "\(entry.tokens)")
            let plain = tokenizer.decode(entry.tokens, skipSpecialTokens: true)
            #expect(
                plain.scalarValues == entry.textWithoutSpecialTokens.scalarValues,
                "\(entry.tokens)")
        }
    }

    @Test func chatPromptIsTheOneKnownToBeAnsweredRight() throws {
        let tokenizer = try Tokenizer(smolLM2Vocabulary())
        let prompt = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n"
        #expect(
            tokenizer.encode(prompt, parseSpecialTokens: true)
                == [1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198])
        #expect(tokenizer.endOfGenerationTokens == [2])
        #expect((0..<tokenizer.vocabularyCount).filter(tokenizer.isSpecial) == Array(0...16))
    }
}
