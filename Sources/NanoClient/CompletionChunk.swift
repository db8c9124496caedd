import Foundation

/// One event of a streamed completion, as OpenAI's servers spell it: what is measured of it.
struct CompletionChunk: Decodable, Hashable {
    struct Choice: Decodable, Hashable {
        let text: String?
        let finishReason: String?

        private enum CodingKeys: String, CodingKey {
            case text
            case finishReason = "finish_reason"
        }
    }

    struct Usage: Decodable, Hashable {
        let promptTokens: Int
        /// vLLM leaves it out where there is none.
        let completionTokens: Int?

        private enum CodingKeys: String, CodingKey {
            case promptTokens = "prompt_tokens"
            case completionTokens = "completion_tokens"
        }
    }

    /// Empty or missing in the chunk that has only the usage.
    let choices: [Choice]?
    let usage: Usage?

    var hasText: Bool { choices?.contains { $0.text?.isEmpty == false } ?? false }
    var isLast: Bool { choices?.contains { $0.finishReason != nil } ?? false }
}

/// What a server says went wrong, in a body or in an event.
struct ServerError: Decodable {
    private struct Nested: Decodable {
        let message: String?
    }

    let message: String?

    private enum CodingKeys: String, CodingKey {
        case error, message, object
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        if let nested = try? container.decode(Nested.self, forKey: .error) {
            message = nested.message ?? "an error without a message"
        } else if let text = try? container.decode(String.self, forKey: .error) {
            message = text
        } else if (try? container.decode(String.self, forKey: .object)) == "error" {
            message = try? container.decode(String.self, forKey: .message)
        } else {
            message = nil
        }
    }

    /// nil for JSON that is no error, and for what is no JSON.
    static func message(in json: some Sequence<UInt8>) -> String? {
        (try? JSONDecoder().decode(ServerError.self, from: Data(json)))?.message
    }
}
