/// What `Tokenizer` makes of a vocabulary; each function refuses what it cannot use.
extension TokenizerVocabulary {
    // Some fifteen times the largest vocabularies there are; ids fit into 32 bits with ease.
    private static let maxTokens = 1 << 22
    private static let maxMerges = 1 << 23

    /// The control tokens by which chat models end a turn, whatever else their files say.
    private static let endOfTurnSpellings: Set<String> = ["<|im_end|>", "<|eot_id|>", "<|eom_id|>"]

    func checkCountsAndIDs() throws(TokenizerError) {
        guard !tokens.isEmpty else { throw .noTokens }
        guard tokens.count <= Self.maxTokens else {
            throw .tooManyEntries(
                field: "tokenizer.ggml.tokens", count: tokens.count, limit: Self.maxTokens)
        }
        guard merges.count <= Self.maxMerges else {
            throw .tooManyEntries(
                field: "tokenizer.ggml.merges", count: merges.count, limit: Self.maxMerges)
        }
        guard kinds.count == tokens.count else {
            throw .kindCountDiffers(kinds: kinds.count, tokens: tokens.count)
        }
        let ids = [
            ("bos", beginningOfSequence), ("eos", endOfSequence), ("eot", endOfTurn),
            ("padding", padding), ("unknown", unknown),
        ]
        for case (let name, let id?) in ids where !tokens.indices.contains(id) {
            throw .idOutOfRange(
                field: "tokenizer.ggml.\(name)_token_id", id: id, vocabularyCount: tokens.count)
        }
    }

    /// Returns an index of the tokens by the UTF-8 of their spellings.
    func indexedSpellings() throws(TokenizerError) -> TokenBytesIndex {
        var spellings = TokenBytes()
        for (index, token) in tokens.enumerated() {
            guard !token.isEmpty else { throw .emptyToken(index: index) }
            spellings.append(token.utf8)
        }
        var spellingIndex = TokenBytesIndex(of: spellings)
        for token in tokens.indices {
            if let first = spellingIndex.insert(token) {
                throw .duplicateToken(index: token, first: first)
            }
        }
        return spellingIndex
    }

    /// Returns the bytes that each token stands for in a text.
    func tokenBytes() -> TokenBytes {
        var bytes = TokenBytes()
        for (token, kind) in zip(tokens, kinds) {
            if kind.isAdded {
                bytes.append(token.utf8)
            } else {
                bytes.append(ByteSpelling.bytes(spelledBy: token))
            }
        }
        return bytes
    }

    /// Returns the token of each byte, -1 for bytes that have none.
    func byteTokens(_ spellings: TokenBytesIndex) throws(TokenizerError) -> [Int32] {
        let byteTokens = ByteSpelling.scalars.map { scalar -> Int32 in
            Int32(spellings.token(with: Array(String(scalar).utf8)) ?? -1)
        }
        guard byteTokens.contains(where: { $0 >= 0 }) else { throw .noByteTokens }
        return byteTokens
    }

    /// Returns a trie of the tokens whose kind `isWanted`.
    func trie(
        of bytes: TokenBytes, where isWanted: (TokenKind) -> Bool
    ) throws(TokenizerError) -> AddedTokenTrie {
        var trie = AddedTokenTrie()
        let limit = AddedTokenTrie.maxTokenByteCount
        for token in tokens.indices where isWanted(kinds[token]) {
            let spelling = bytes[token]
            guard spelling.count <= limit else {
                throw .addedTokenTooLong(index: token, byteCount: spelling.count, limit: limit)
            }
            trie.insert(spelling, token: token)
        }
        return trie
    }

    /// Returns an index of the tokens that pieces can be, by their bytes.
    func wholePieces(_ bytes: TokenBytes) -> TokenBytesIndex {
        var index = TokenBytesIndex(of: bytes)
        for token in tokens.indices where !kinds[token].isAdded {
            // Spellings differ, but two that are not in GPT-2's form may mean the same bytes.
            _ = index.insert(token)
        }
        return index
    }

    func endOfGenerationTokens() -> Set<Int> {
        var result = Set([endOfSequence, endOfTurn].compactMap { $0 })
        for token in tokens.indices where kinds[token] == .control {
            if Self.endOfTurnSpellings.contains(tokens[token]) { result.insert(token) }
        }
        return result
    }
}
