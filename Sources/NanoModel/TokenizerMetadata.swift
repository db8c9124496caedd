package import NanoTokenizer

extension TokenizerVocabulary {
    /// Reads the tokenizer's part of a GGUF file's metadata.
    ///
    /// - Throws: ``ModelLoadingError`` when a key is missing or of the wrong type, or the
    ///   tokenizer is not byte-level BPE. The vocabulary itself is checked by `Tokenizer`.
    package init(_ file: GGUFFile) throws(ModelLoadingError) {
        let model = try file.string("tokenizer.ggml.model")
        guard model == "gpt2" else {
            throw ModelLoadingError(
                file: file.path, field: "tokenizer.ggml.model", limit: "\"gpt2\" (byte-level BPE)",
                given: quoted(model), "this kind of tokenizer is not supported")
        }
        let tokens = try file.strings("tokenizer.ggml.tokens")
        self.init(
            tokens: tokens, kinds: try Self.kinds(file, count: tokens.count),
            merges: try file.strings("tokenizer.ggml.merges"),
            preTokenizer: try file.stringIfPresent("tokenizer.ggml.pre") ?? "default",
            beginningOfSequence: try Self.token(file, "bos_token_id"),
            endOfSequence: try Self.token(file, "eos_token_id"),
            endOfTurn: try Self.token(file, "eot_token_id"),
            padding: try Self.token(file, "padding_token_id"),
            unknown: try Self.token(file, "unknown_token_id"),
            addsBeginningOfSequence: try file.boolIfPresent("tokenizer.ggml.add_bos_token")
                ?? false)
    }

    private static func kinds(
        _ file: GGUFFile, count: Int
    ) throws(ModelLoadingError) -> [TokenKind] {
        let key = "tokenizer.ggml.token_type"
        guard let numbers = try file.int32sIfPresent(key) else {
            return [TokenKind](repeating: .normal, count: count)
        }
        var kinds: [TokenKind] = []
        kinds.reserveCapacity(numbers.count)
        for (index, number) in numbers.enumerated() {
            guard let kind = TokenKind(rawValue: number) else {
                throw ModelLoadingError(
                    file: file.path, field: "\(key)[\(index)]", limit: "1 to 6",
                    given: "\(number)", "there is no such type of token")
            }
            kinds.append(kind)
        }
        return kinds
    }

    private static func token(
        _ file: GGUFFile, _ key: String
    ) throws(ModelLoadingError) -> Int? {
        try file.integerIfPresent("tokenizer.ggml.\(key)", in: 0...Int(Int32.max))
    }
}
