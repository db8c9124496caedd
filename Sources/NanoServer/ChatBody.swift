import NanoFlow

/// The body of `POST /v1/chat/completions`.
struct ChatBody: Decodable {
    let shared: RequestBody
    let messages: [ChatMessage]
    let logprobCount: Int?

    init(from decoder: any Decoder) throws {
        let body = try JSONObject(decoder)
        shared = try RequestBody(body)
        for field: JSONField in ["add_special_tokens", "echo"] where try body.flag(field) {
            throw RequestError.unsupported(field: field.stringValue)
        }
        logprobCount = try Self.logprobCount(body)
        messages = try Self.messages(body)
    }

    /// The messages of a chat, at least one.
    static func messages(_ body: JSONObject) throws -> [ChatMessage] {
        let messages: [Message]? = try body.value("messages", "a list of messages")
        guard let messages, !messages.isEmpty else {
            throw NanoFlowError(
                .invalidRequest, field: "messages", limit: "at least one message",
                given: messages == nil ? "nothing" : "an empty list")
        }
        return messages.map(\.message)
    }

    private static func logprobCount(_ body: JSONObject) throws -> Int? {
        let isAsked = try body.flag("logprobs")
        let count = try body.integer("top_logprobs") ?? 0
        let limit = SamplingParameters.maxLogprobCount
        guard 0...limit ~= count else {
            throw NanoFlowError(
                .invalidRequest, field: "top_logprobs", limit: "0 to \(limit)", given: "\(count)")
        }
        guard isAsked || count == 0 else {
            throw NanoFlowError(
                .invalidRequest, field: "top_logprobs", limit: "0 unless logprobs is true",
                given: "\(count)")
        }
        return isAsked ? count : nil
    }
}

extension ChatBody {
    private struct Message: Decodable {
        private static let roles = ["system", "user", "assistant", "tool", "developer"]

        let message: ChatMessage

        init(from decoder: any Decoder) throws {
            let body = try JSONObject(decoder)
            let role: String? = try body.value("role", "a string")
            guard let role, Self.roles.contains(role) else {
                throw NanoFlowError(
                    .invalidRequest, field: body.name("role"),
                    limit: "one of " + Self.roles.joined(separator: ", "),
                    given: role ?? "nothing")
            }
            if !UnsupportedFields.isNeutral(body.shape("tool_calls"), .nothing) {
                throw RequestError.unsupported(field: body.name("tool_calls"))
            }
            if role == "tool", try body.value("tool_call_id", "a string") as String? == nil {
                throw NanoFlowError(
                    .invalidRequest, field: body.name("tool_call_id"),
                    limit: "the id of a tool call", given: "nothing")
            }
            let content: Content? = try body.value("content", "a string or a list of text parts")
            message = ChatMessage(
                role: role == "developer" ? "system" : role, content: content?.text ?? "")
        }
    }

    private struct Content: Decodable {
        let text: String

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let text = try? container.decode(String.self) {
                self.text = text
            } else {
                text = try container.decode([Part].self).map(\.text).joined()
            }
        }
    }

    private struct Part: Decodable {
        let text: String

        init(from decoder: any Decoder) throws {
            let body = try JSONObject(decoder)
            let type: String? = try body.value("type", "a string")
            guard type == "text" else {
                throw NanoFlowError(
                    .invalidRequest, field: body.name("type"), limit: "\"text\"",
                    given: type ?? "nothing")
            }
            let text: String? = try body.value("text", "a string")
            guard let text else {
                throw NanoFlowError(
                    .invalidRequest, field: body.name("text"), limit: "a string", given: "nothing")
            }
            self.text = text
        }
    }
}
