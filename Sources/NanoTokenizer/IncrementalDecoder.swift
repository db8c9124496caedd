/// Decodes tokens as they come, and hands out text as soon as no later token can change it.
///
/// All that `append` and, at the end, `finish` return is together what `Tokenizer.decode` makes of
/// the same tokens. Text is cut between Unicode scalars, not between characters.
package struct IncrementalDecoder: Sendable {
    private let tokenizer: Tokenizer
    private let skipsSpecialTokens: Bool
    private var bytes = ByteDecoder()

    /// Creates a decoder of one sequence.
    package init(_ tokenizer: Tokenizer, skipSpecialTokens: Bool) {
        self.tokenizer = tokenizer
        skipsSpecialTokens = skipSpecialTokens
    }

    /// Takes the next token and returns the text that it settles, which may be empty.
    package mutating func append(_ token: Int) -> String {
        if skipsSpecialTokens, tokenizer.isSpecial(token) { return "" }
        return bytes.append(tokenizer.bytes(of: token))
    }

    /// Returns what is left when no token will follow: U+FFFD for a scalar that was never completed.
    package mutating func finish() -> String { bytes.finish() }
}
