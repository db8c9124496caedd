/// A byte-level BPE tokenizer: text to tokens and back.
///
/// Tokens are numbers from 0 to below `vocabularyCount`. Any other number is no special token and has
/// no bytes, since models may have more outputs than tokens.
package final class Tokenizer: Sendable {
    package let beginningOfSequence: Int?
    package let endOfSequence: Int?
    package let padding: Int?
    /// The tokens that end an answer: end of sequence, end of turn, and the control tokens by which
    /// chat models are known to end a turn.
    package let endOfGenerationTokens: Set<Int>
    /// The bytes that have no token, which encoding leaves out.
    ///
    /// Many vocabularies lack those that never occur in UTF-8, some also rare control characters.
    package let bytesWithoutToken: [UInt8]

    private let bytes: TokenBytes
    private let kinds: [TokenKind]
    private let addsBeginningOfSequence: Bool
    private let splitPattern: SplitPattern
    private let merges: MergeTable
    private let byteTokens: [Int32]
    /// The pieces that are tokens as they are; nil where only merges decide.
    private let wholePieces: TokenBytesIndex?
    private let addedTokens: AddedTokenTrie
    private let userDefinedTokens: AddedTokenTrie

    /// The number of tokens.
    package var vocabularyCount: Int { bytes.count }

    /// Creates the tokenizer that `vocabulary` describes, or says what is wrong with it.
    package init(_ vocabulary: TokenizerVocabulary) throws(TokenizerError) {
        guard let preTokenizer = PreTokenizer(name: vocabulary.preTokenizer) else {
            throw .unknownPreTokenizer(name: vocabulary.preTokenizer)
        }
        try vocabulary.checkCountsAndIDs()
        let spellings = try vocabulary.indexedSpellings()
        let bytes = vocabulary.tokenBytes()
        let byteTokens = try vocabulary.byteTokens(spellings)

        merges = try MergeTable(vocabulary.merges, spellings: spellings)
        splitPattern = try SplitPattern(preTokenizer.pattern)
        addedTokens = try vocabulary.trie(of: bytes) { $0.isAdded }
        userDefinedTokens = try vocabulary.trie(of: bytes) { $0 == .userDefined }
        wholePieces = preTokenizer.prefersWholePieces ? vocabulary.wholePieces(bytes) : nil
        bytesWithoutToken = (0...UInt8.max).filter { byteTokens[Int($0)] < 0 }
        endOfGenerationTokens = vocabulary.endOfGenerationTokens()
        beginningOfSequence = vocabulary.beginningOfSequence
        endOfSequence = vocabulary.endOfSequence
        padding = vocabulary.padding
        addsBeginningOfSequence = vocabulary.addsBeginningOfSequence
        kinds = vocabulary.kinds
        self.bytes = bytes
        self.byteTokens = byteTokens
    }

    /// Returns the tokens of `text`.
    ///
    /// - Parameters:
    ///   - text: Any text; it is not normalised.
    ///   - addSpecialTokens: Whether to start with the beginning-of-sequence token if the vocabulary
    ///     asks for it. A rendered chat template has written it already.
    ///   - parseSpecialTokens: Whether the spelling of a control token stands for that token; if
    ///     not, it is text like any other. User-defined tokens are always recognised.
    /// - Returns: Numbers from 0 to below `vocabularyCount`.
    package func encode(
        _ text: String, addSpecialTokens: Bool = false, parseSpecialTokens: Bool
    ) -> [Int] {
        var result: [Int] = []
        if addSpecialTokens, addsBeginningOfSequence, let beginningOfSequence {
            result.append(beginningOfSequence)
        }
        let trie = parseSpecialTokens ? addedTokens : userDefinedTokens
        var merger = makeMerger()
        var text = text
        text.withUTF8 { text in
            var start = 0
            var position = 0
            while position < text.count {
                guard let match = trie.longestMatch(in: text, at: position) else {
                    position += 1
                    continue
                }
                encode(.init(rebasing: text[start..<position]), with: &merger, to: &result)
                result.append(match.token)
                position = match.end
                start = position
            }
            encode(.init(rebasing: text[start...]), with: &merger, to: &result)
        }
        return result
    }

    /// Returns the text of `tokens`, in which bytes that are not UTF-8 become U+FFFD.
    ///
    /// - Parameters:
    ///   - tokens: Any numbers; those that are no tokens are left out.
    ///   - skipSpecialTokens: Whether to leave control tokens out too.
    /// - Returns: The text.
    package func decode(_ tokens: some Sequence<Int>, skipSpecialTokens: Bool) -> String {
        var text: [UInt8] = []
        for token in tokens where !(skipSpecialTokens && isSpecial(token)) {
            text.append(contentsOf: bytes(of: token))
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// The bytes that `token` stands for in a text, not copied; of a control token, its spelling.
    package func bytes(of token: Int) -> ArraySlice<UInt8> {
        kinds.indices.contains(token) ? bytes[token] : []
    }

    /// The bytes that `token` adds to a completion's text: none for a control token.
    package func textBytes(of token: Int) -> [UInt8] {
        isSpecial(token) ? [] : Array(bytes(of: token))
    }

    /// Whether `token` is a control token, which is not text, or stands for an unknown one.
    package func isSpecial(_ token: Int) -> Bool {
        kinds.indices.contains(token) && kinds[token].isSpecial
    }

    /// Returns a merger of this vocabulary; see `PieceMerger`.
    package func makeMerger(maxSearchedPieceCount: Int = 48) -> PieceMerger {
        PieceMerger(
            merges: merges, byteTokens: byteTokens, maxSearchedPieceCount: maxSearchedPieceCount)
    }

    /// Encodes text that no added token is to be looked for in.
    private func encode(
        _ text: UnsafeBufferPointer<UInt8>, with merger: inout PieceMerger, to result: inout [Int]
    ) {
        splitPattern.forEachPiece(of: text) { piece in
            if let token = wholePieces?.token(with: piece) {
                result.append(token)
            } else {
                merger.appendTokens(of: piece, to: &result)
            }
        }
    }
}
