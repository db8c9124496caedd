import NanoFlow

/// The body of `POST /tokenize`: a prompt, or the messages of a chat.
struct TokenizeBody: Decodable {
    let model: String?
    let prompt: Prompt
    let addsSpecialTokens: Bool
    let wantsSpellings: Bool

    init(from decoder: any Decoder) throws {
        let body = try JSONObject(decoder)
        model = try body.value("model", "a string")
        addsSpecialTokens =
            body.shape("add_special_tokens") == .null
            ? true : try body.flag("add_special_tokens")
        wantsSpellings = try body.flag("return_token_strs")
        try UnsupportedFields.check(body, choicesPerPrompt: 1)
        if body.shape("messages") != .null {
            prompt = .chat(try ChatBody.messages(body))
        } else if let text: String = try body.value("prompt", "a string") {
            prompt = .text(text)
        } else {
            throw NanoFlowError(
                .invalidRequest, field: "prompt", limit: "a string, or messages", given: "nothing")
        }
    }
}

/// The answer to it.
struct TokenizeAnswer: Encodable {
    let count: Int
    let maxModelLength: Int
    let tokens: [Int]
    @ExplicitNull var spellings: [String]?

    private enum CodingKeys: String, CodingKey {
        case count, tokens
        case maxModelLength = "max_model_len"
        case spellings = "token_strs"
    }
}

/// The body of `POST /detokenize`.
struct DetokenizeBody: Decodable {
    let model: String?
    let tokens: [Int]

    init(from decoder: any Decoder) throws {
        let body = try JSONObject(decoder)
        model = try body.value("model", "a string")
        guard let tokens: [Int] = try body.value("tokens", "a list of token ids") else {
            throw NanoFlowError(
                .invalidRequest, field: "tokens", limit: "a list of token ids", given: "nothing")
        }
        self.tokens = tokens
    }
}

extension CompletionService {
    func tokenize(_ body: TokenizeBody) throws -> TokenizeAnswer {
        try check(model: body.model)
        let tokens = try generator.uncheckedTokens(
            of: body.prompt, addsSpecialTokens: body.addsSpecialTokens)
        return TokenizeAnswer(
            count: tokens.count, maxModelLength: generator.maxModelLength, tokens: tokens,
            spellings: body.wantsSpellings
                ? tokens.map { displayText(generator.spelling(of: $0)) } : nil)
    }

    /// The text that the tokens spell, special tokens included.
    func detokenize(_ body: DetokenizeBody) throws -> [String: String] {
        try check(model: body.model)
        let count = generator.vocabularyCount
        for (index, token) in body.tokens.enumerated() where !(0..<count).contains(token) {
            throw NanoFlowError(
                .invalidRequest, field: "tokens[\(index)]",
                limit: "token ids from 0 to \(count - 1)", given: "\(token)")
        }
        return ["prompt": displayText(body.tokens.flatMap(generator.spelling(of:)))]
    }

    /// - Throws: ``RequestError`` where a request names another model.
    func check(model: String?) throws(RequestError) {
        if let model, model != modelName {
            throw .unknownModel(model, served: modelName)
        }
    }
}
