/// What a token is, with the numbers of the GGUF array `tokenizer.ggml.token_type`.
package enum TokenKind: Int32, Sendable {
    case normal = 1
    case unknown = 2
    case control = 3
    case userDefined = 4
    case unused = 5
    case byte = 6

    /// Whether the token steers the model rather than being text: such tokens are recognised in text
    /// only on request, and left out of it on request.
    var isSpecial: Bool { self == .control || self == .unknown }

    /// Whether the token is spelled as itself and found in the text before it is split.
    var isAdded: Bool { isSpecial || self == .userDefined }
}

/// What a model file says about its byte-level BPE tokenizer; nothing in it has been checked yet.
package struct TokenizerVocabulary: Sendable {
    /// The spelling of each token, in GPT-2's byte-to-character form (`tokenizer.ggml.tokens`).
    package var tokens: [String]
    /// The kind of each token (`tokenizer.ggml.token_type`).
    package var kinds: [TokenKind]
    /// The merges as "left right", the first to be applied first (`tokenizer.ggml.merges`).
    package var merges: [String]
    /// The name of the rule that splits text into pieces (`tokenizer.ggml.pre`).
    package var preTokenizer: String
    package var beginningOfSequence: Int?
    package var endOfSequence: Int?
    package var endOfTurn: Int?
    package var padding: Int?
    package var unknown: Int?
    /// Whether a prompt starts with the token `beginningOfSequence`.
    package var addsBeginningOfSequence: Bool

    package init(
        tokens: [String], kinds: [TokenKind], merges: [String], preTokenizer: String,
        beginningOfSequence: Int? = nil, endOfSequence: Int? = nil, endOfTurn: Int? = nil,
        padding: Int? = nil, unknown: Int? = nil, addsBeginningOfSequence: Bool = false
    ) {
        self.tokens = tokens
        self.kinds = kinds
        self.merges = merges
        self.preTokenizer = preTokenizer
        self.beginningOfSequence = beginningOfSequence
        self.endOfSequence = endOfSequence
        self.endOfTurn = endOfTurn
        self.padding = padding
        self.unknown = unknown
        self.addsBeginningOfSequence = addsBeginningOfSequence
    }
}
