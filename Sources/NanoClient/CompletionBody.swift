package import Foundation

/// A request for a streamed completion of an exact length, as JSON.
package struct CompletionBody: Sendable {
    /// A field that not every server knows; a strict one refuses requests that have it.
    package enum OptionalField: String, Sendable, Hashable, CaseIterable {
        case ignoreEOS = "ignore_eos"
        case minTokens = "min_tokens"
    }

    private struct Fields: Encodable {
        let model: String
        let prompt: Prompt
        let maxTokens: Int
        let minTokens: Int?
        let ignoreEOS: Bool?
        let temperature = 0.0
        let stream = true
        let streamOptions = ["include_usage": true]

        private enum CodingKeys: String, CodingKey {
            case model, prompt
            case maxTokens = "max_tokens"
            case minTokens = "min_tokens"
            case ignoreEOS = "ignore_eos"
            case temperature, stream
            case streamOptions = "stream_options"
        }
    }

    private enum Prompt: Encodable {
        case text(String)
        case tokens([Int])

        func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            switch self {
            case .text(let text): try container.encode(text)
            case .tokens(let ids): try container.encode(ids)
            }
        }
    }

    private let model: String
    private let vocabulary: Range<Int>
    private let omitted: Set<OptionalField>

    /// - Parameters:
    ///   - model: As the server names it.
    ///   - vocabulary: Where the ids of prompts are drawn from; not empty.
    ///   - omitted: Fields to leave out.
    package init(model: String, vocabulary: Range<Int>, omitting omitted: Set<OptionalField>) {
        precondition(!vocabulary.isEmpty, "Prompts are made of tokens.")
        self.model = model
        self.vocabulary = vocabulary
        self.omitted = omitted
    }

    /// The body that asks for a completion of so many tokens.
    package func json(_ prompt: OnlinePrompt, outputLength: Int) throws -> Data {
        let spelled: Prompt =
            switch prompt.drawn(from: vocabulary) {
            case .text(let text): .text(text)
            case .tokens(let ids): .tokens(ids)
            case .random, .hashed: preconditionFailure("Ids have been drawn.")
            }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(
            Fields(
                model: model, prompt: spelled, maxTokens: outputLength,
                minTokens: omitted.contains(.minTokens) ? nil : outputLength,
                ignoreEOS: omitted.contains(.ignoreEOS) ? nil : true))
    }
}
