/// Fields that this server does not serve yet, and whose silent loss would change the answer.
///
/// They are OpenAI's and vLLM's. Everything else that is unknown is ignored.
enum UnsupportedFields {
    /// A value that asks for nothing, beside null, false, and what is empty.
    enum Neutral {
        case nothing
        case one
        case yes
    }

    private static let all: [(JSONField, Neutral)] = [
        ("add_generation_prompt", .yes), ("allowed_token_ids", .nothing), ("audio", .nothing),
        ("bad_words", .nothing), ("chat_template", .nothing), ("chat_template_kwargs", .nothing),
        ("continue_final_message", .nothing), ("documents", .nothing),
        ("functions", .nothing), ("guided_choice", .nothing), ("guided_grammar", .nothing),
        ("guided_json", .nothing), ("guided_regex", .nothing),
        ("kv_transfer_params", .nothing), ("length_penalty", .one),
        ("logits_processors", .nothing), ("return_tokens_as_token_ids", .nothing),
        ("skip_special_tokens", .yes), ("structured_outputs", .nothing), ("suffix", .nothing),
        ("use_beam_search", .nothing), ("web_search_options", .nothing),
    ]

    /// - Throws: ``RequestError/unsupported(field:)`` for the first that asks for something.
    static func check(_ body: JSONObject, choicesPerPrompt: Int) throws {
        for (field, neutral) in all where !isNeutral(body.shape(field), neutral) {
            throw RequestError.unsupported(field: field.stringValue)
        }
        let bestOf = try body.integer("best_of") ?? choicesPerPrompt
        guard bestOf == choicesPerPrompt else { throw RequestError.unsupported(field: "best_of") }
        let toolChoice: String? = try? body.value("tool_choice", "")
        if !isNeutral(body.shape("tools"), .nothing), toolChoice != "none" {
            throw RequestError.unsupported(field: "tools")
        }
        if let format: ResponseFormat = try body.value("response_format", "an object with a type"),
            format.type != "text"
        {
            throw RequestError.unsupported(field: "response_format")
        }
    }

    private struct ResponseFormat: Decodable {
        let type: String
    }

    static func isNeutral(_ shape: JSONShape, _ neutral: Neutral) -> Bool {
        switch shape {
        case .null, .string(true), .list(true), .object(true): true
        case .bool(let value): value == (neutral == .yes)
        case .number(1): neutral == .one
        default: false
        }
    }
}
