extension TokenizerVocabulary {
    /// A vocabulary of the 256 bytes and tokens that only fill it up to `count`: for models without
    /// a tokenizer, whose callers give and take token ids.
    ///
    /// No merges, no special tokens.
    package static func bytes(count: Int) -> TokenizerVocabulary {
        precondition(count >= ByteSpelling.scalars.count, "Every byte must have a token.")
        let fillers = (ByteSpelling.scalars.count..<count).map { "<\($0)>" }
        return TokenizerVocabulary(
            tokens: ByteSpelling.scalars.map { String($0) } + fillers,
            kinds: [TokenKind](repeating: .normal, count: count), merges: [],
            preTokenizer: PreTokenizer.gpt2.rawValue)
    }
}
