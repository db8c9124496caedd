import NanoFlow

/// The answers of `POST /v1/completions`.
struct CompletionFormat: AnswerFormat {
    static let idPrefix = "cmpl-"
    static let wholeObject = "text_completion"
    static let chunkObject = "text_completion"

    /// nil where the request did not ask for log-probabilities.
    let tokenBytes: (@Sendable (Int) -> [UInt8])?

    struct WholeChoice: Encodable, Sendable {
        let index: Int
        let text: String
        @ExplicitNull var logprobs: Logprobs?
        @ExplicitNull var finishReason: String?

        private enum CodingKeys: String, CodingKey {
            case index, text, logprobs
            case finishReason = "finish_reason"
        }
    }

    /// Lists of equal length, one entry a token.
    struct Logprobs: Encodable, Sendable {
        var tokens: [String] = []
        var tokenLogprobs: [Double] = []
        var topLogprobs: [[String: Double]] = []
        /// Where the token begins in the completion, in Unicode scalars of the tokens before.
        var textOffset: [Int] = []

        private enum CodingKeys: String, CodingKey {
            case tokens
            case tokenLogprobs = "token_logprobs"
            case topLogprobs = "top_logprobs"
            case textOffset = "text_offset"
        }
    }

    func opening(_ index: Int) -> WholeChoice? {
        nil
    }

    func chunk(_ index: Int, _ part: AnswerPart) -> WholeChoice {
        WholeChoice(
            index: index, text: part.text, logprobs: part.tokens.isEmpty ? nil : logprobs(part),
            finishReason: part.finishReason?.rawValue)
    }

    func whole(_ index: Int, _ part: AnswerPart) -> WholeChoice {
        WholeChoice(
            index: index, text: part.text, logprobs: logprobs(part),
            finishReason: part.finishReason?.rawValue)
    }

    private func logprobs(_ part: AnswerPart) -> Logprobs? {
        guard let tokenBytes else { return nil }
        var logprobs = Logprobs()
        var offset = part.offset
        for token in part.tokens {
            let text = displayText(token.bytes)
            let logprob = finiteLogprob(token.logprob)
            var top: [String: Double] = [:]
            // Tokens whose texts look alike share an entry, which is the likeliest one's.
            for alternative in token.alternatives.reversed() {
                top[displayText(tokenBytes(alternative.token))] = finiteLogprob(alternative.logprob)
            }
            top[text] = max(logprob, top[text] ?? logprob)
            logprobs.tokens.append(text)
            logprobs.tokenLogprobs.append(logprob)
            logprobs.topLogprobs.append(top)
            logprobs.textOffset.append(offset)
            offset += text.unicodeScalars.count
        }
        return logprobs
    }
}
