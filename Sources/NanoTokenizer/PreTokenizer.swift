/// How text is cut into pieces before byte-pair merging; no merge crosses a cut.
///
/// The patterns are those of the models' own `tokenizer.json` files. They cover every character, so
/// the pieces of a text joined together are the text.
package enum PreTokenizer: String, CaseIterable, Sendable {
    case gpt2 = "gpt-2"
    case smolLM = "smollm"
    case qwen2 = "qwen2"
    case llama3 = "llama-bpe"

    /// Creates the rule that GGUF files call `name`; nil for a name that is not known.
    ///
    /// The aliases are those that llama.cpp takes for the same rule. Its "default" is none of
    /// these four: files that say so were converted before their rule had a name.
    package init?(name: String) {
        switch name {
        case "gpt-2", "phi-2": self = .gpt2
        case "smollm", "starcoder", "refact": self = .smolLM
        case "qwen2", "deepseek-r1-qwen": self = .qwen2
        case "llama-bpe", "llama3", "llama-v3", "falcon3": self = .llama3
        default: return nil
        }
    }

    /// Whether a piece that is a token is that token, however the merges would have cut it.
    var prefersWholePieces: Bool { self == .llama3 }

    /// The pattern that matches one piece after the other.
    package var pattern: String {
        let contractions = "'s|'t|'re|'ve|'m|'ll|'d"
        let words = #" ?\p{L}+"#
        let others = #" ?[^\#(space)\p{L}\p{N}]+"#
        let spaces = "[\(space)]+(?![^\(space)])|[\(space)]+"
        switch self {
        case .gpt2:
            return #"\#(contractions)|\#(words)| ?\p{N}+|\#(others)|\#(spaces)"#
        case .smolLM:
            // Two rules in a row: each numeric character is a piece, then GPT-2's rule cuts what is
            // between. A number thus ends a run of white space just as the end of the text does.
            let spaces = #"[\#(space)]+(?![^\#(space)\p{N}])|[\#(space)]+"#
            return #"\#(contractions)|\#(words)|\p{N}|\#(others)|\#(spaces)"#
        case .qwen2, .llama3:
            let number = self == .qwen2 ? #"\p{N}"# : #"\p{N}{1,3}"#
            let word = #"[^\r\n\p{L}\p{N}]?\p{L}+"#
            let lines = #"[\#(space)]*[\r\n]+"#
            return
                #"(?i:\#(contractions))|\#(word)|\#(number)|\#(others)[\r\n]*|\#(lines)|\#(spaces)"#
        }
    }
}

/// White space, as it stands in a character class.
///
/// PCRE2's `\s` also holds U+180E, which has not been white space since Unicode 6.3 and is not to
/// Hugging Face's tokenizers. Characters newer than PCRE2's tables count as neither letter nor number.
private let space = #"\p{Z}\t-\r\x{85}"#
