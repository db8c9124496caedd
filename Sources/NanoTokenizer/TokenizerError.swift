/// Why a vocabulary was refused.
package enum TokenizerError: Error, Equatable, Sendable {
    case noTokens
    /// The array `field` has `count` entries, more than `limit`.
    case tooManyEntries(field: String, count: Int, limit: Int)
    /// There is not one kind for each token.
    case kindCountDiffers(kinds: Int, tokens: Int)
    case emptyToken(index: Int)
    case duplicateToken(index: Int, first: Int)
    /// A control or user-defined token is spelled with `byteCount` bytes, more than `limit`.
    case addedTokenTooLong(index: Int, byteCount: Int, limit: Int)
    /// The id in `field` names no token of the vocabulary.
    case idOutOfRange(field: String, id: Int, vocabularyCount: Int)
    /// No token stands for a single byte, so no text could be encoded.
    case noByteTokens
    /// A merge is not two non-empty spellings with one space between them.
    case malformedMerge(index: Int, merge: String)
    /// A merge joins, or makes, something that is not a token.
    case unknownTokenInMerge(index: Int, spelling: String)
    case duplicateMerge(index: Int, first: Int)
    case unknownPreTokenizer(name: String)
    /// PCRE2 refused a split pattern of ours: it was built without Unicode, or is out of memory.
    case patternRefused(reason: String)
}

extension TokenizerError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .noTokens:
            "tokenizer.ggml.tokens is empty."
        case .tooManyEntries(let field, let count, let limit):
            "\(field) has \(count) entries; at most \(limit) are allowed."
        case .kindCountDiffers(let kinds, let tokens):
            "tokenizer.ggml.token_type has \(kinds) entries, but there are \(tokens) tokens."
        case .emptyToken(let index):
            "tokenizer.ggml.tokens: token \(index) is empty."
        case .duplicateToken(let index, let first):
            "tokenizer.ggml.tokens: token \(index) is spelled like token \(first)."
        case .addedTokenTooLong(let index, let byteCount, let limit):
            "tokenizer.ggml.tokens: the added token \(index) is \(byteCount) bytes long; "
                + "at most \(limit) are allowed."
        case .idOutOfRange(let field, let id, let vocabularyCount):
            "\(field) is \(id), but the vocabulary has \(vocabularyCount) tokens."
        case .noByteTokens:
            "tokenizer.ggml.tokens: no token stands for a single byte; "
                + "this is not a byte-level BPE vocabulary."
        case .malformedMerge(let index, let merge):
            "tokenizer.ggml.merges: merge \(index), \(quoted(merge)), is not two tokens with a "
                + "space between them."
        case .unknownTokenInMerge(let index, let spelling):
            "tokenizer.ggml.merges: merge \(index) names \(quoted(spelling)), which is no token."
        case .duplicateMerge(let index, let first):
            "tokenizer.ggml.merges: merge \(index) repeats merge \(first)."
        case .unknownPreTokenizer(let name):
            "tokenizer.ggml.pre is \(quoted(name)); known are "
                + PreTokenizer.allCases.map(\.rawValue).joined(separator: ", ") + "."
        case .patternRefused(let reason):
            "PCRE2 refused the pattern that splits text: \(reason)."
        }
    }

    /// The text in quotes, cut so that a hostile file cannot flood the log.
    private func quoted(_ text: String) -> String {
        let limit = 80
        return text.utf8.count > limit ? "\"\(text.prefix(limit))…\"" : "\"\(text)\""
    }
}
