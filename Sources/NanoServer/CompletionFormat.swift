import NanoFlow

/// The answers of `POST /v1/completions`.
struct CompletionFormat: AnswerFormat {
    static let idPrefix = "cmpl-"
    static let wholeObject = "text_completion"
    static let chunkObject = "text_completion"

    let details: TokenDetails

    struct WholeChoice: Encodable, Sendable {
        let index: Int
        let text: String
        @ExplicitNull var logprobs: Logprobs? = nil
        @ExplicitNull var finishReason: String? = nil
        @ExplicitNull var stopReason: StopReason? = nil
        var promptLogprobs: [[String: PromptLogprob]?]?
        var promptTokenIDs: [Int]?
        var tokenIDs: [Int]?

        private enum CodingKeys: String, CodingKey {
            case index, text, logprobs
            case finishReason = "finish_reason"
            case stopReason = "stop_reason"
            case promptLogprobs = "prompt_logprobs"
            case promptTokenIDs = "prompt_token_ids"
            case tokenIDs = "token_ids"
        }
    }

    /// Lists of equal length, one entry a token; the first token of a prompt has null.
    struct Logprobs: Encodable, Sendable {
        var tokens: [String] = []
        var tokenLogprobs: [Double?] = []
        var topLogprobs: [[String: Double]?] = []
        /// Where the token begins in the text, in Unicode scalars of the tokens before.
        var textOffset: [Int] = []

        private enum CodingKeys: String, CodingKey {
            case tokens
            case tokenLogprobs = "token_logprobs"
            case topLogprobs = "top_logprobs"
            case textOffset = "text_offset"
        }
    }

    /// An echo whose tokens are scored comes with its scores.
    func opening(_ index: Int, _ choice: GenerationRequest.Choice) -> WholeChoice? {
        let echo = choice.sampling.promptLogprobCount == nil ? choice.echo : nil
        guard echo != nil || details.hasIDs else { return nil }
        return WholeChoice(
            index: index, text: echo ?? "", promptTokenIDs: details.promptTokenIDs(choice))
    }

    func chunk(_ index: Int, _ part: AnswerPart) -> WholeChoice {
        WholeChoice(
            index: index, text: part.text,
            logprobs: part.tokens.isEmpty && part.prompt.isEmpty ? nil : logprobs(part),
            finishReason: part.end?.reason.rawValue, stopReason: part.end?.stopReason,
            tokenIDs: details.tokenIDs(part))
    }

    func whole(
        _ index: Int, _ choice: GenerationRequest.Choice, _ part: AnswerPart
    ) -> WholeChoice {
        var shown = part
        if let echo = choice.echo {
            shown.text = echo + part.text
        } else {
            shown.prompt = []
        }
        return WholeChoice(
            index: index, text: shown.text, logprobs: logprobs(shown),
            finishReason: part.end?.reason.rawValue, stopReason: part.end?.stopReason,
            promptLogprobs: details.promptLogprobs(part),
            promptTokenIDs: details.promptTokenIDs(choice), tokenIDs: details.tokenIDs(part))
    }

    private func logprobs(_ part: AnswerPart) -> Logprobs? {
        guard details.hasLogprobs else { return nil }
        var logprobs = Logprobs()
        var offset = part.offset
        for token in part.prompt {
            logprobs.add(
                details.text(of: token.id), token.logprob,
                token.logprob == nil ? nil : token.alternatives, at: &offset, details)
        }
        for token in part.tokens {
            logprobs.add(
                details.text(of: token.id), finiteLogprob(token.logprob), token.alternatives,
                at: &offset, details)
        }
        return logprobs
    }
}

extension CompletionFormat.Logprobs {
    fileprivate mutating func add(
        _ text: String, _ logprob: Double?, _ alternatives: [TokenLogprob]?, at offset: inout Int,
        _ details: TokenDetails
    ) {
        tokens.append(text)
        tokenLogprobs.append(logprob.map { finiteLogprob($0) })
        // Tokens whose texts look alike share an entry, which is the likeliest one's.
        topLogprobs.append(
            alternatives.map { alternatives in
                var top: [String: Double] = [:]
                for other in alternatives.reversed() {
                    top[details.text(of: other.token)] = finiteLogprob(other.logprob)
                }
                let own = finiteLogprob(logprob)
                top[text] = max(own, top[text] ?? own)
                return top
            })
        textOffset.append(offset)
        offset += text.unicodeScalars.count
    }
}
