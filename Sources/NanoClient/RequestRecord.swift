/// A completion whose stream came to its end; times are in seconds since the load's start.
package struct MeasuredCompletion: Sendable, Hashable {
    package let sent: Double
    /// When each event with text came; one may bring several tokens, or a part of one.
    package let textTimes: [Double]
    /// When the last event of the completion came.
    package let end: Double
    /// As the server counts them.
    package let promptTokens: Int
    package let completionTokens: Int

    package init(
        sent: Double, textTimes: [Double], end: Double, promptTokens: Int, completionTokens: Int
    ) {
        self.sent = sent
        self.textTimes = textTimes
        self.end = end
        self.promptTokens = promptTokens
        self.completionTokens = completionTokens
    }

    /// From the sending to the first event with text, or to the end where no token had one.
    package var timeToFirstToken: Double { (textTimes.first ?? end) - sent }

    /// From the sending to the end.
    package var latency: Double { end - sent }

    /// The time after the first token, by the tokens after it; nil for a completion of one token.
    package var timePerOutputToken: Double? {
        completionTokens > 1
            ? (latency - timeToFirstToken) / Double(completionTokens - 1) : nil
    }

    /// Between one event with text and the next.
    package var interTokenLatencies: [Double] {
        zip(textTimes.dropFirst(), textTimes).map { $0 - $1 }
    }

    /// The latency by the completion's tokens.
    package var normalizedLatency: Double { latency / Double(completionTokens) }
}

/// What became of one request of a load; times are in seconds since the load's start.
package struct RequestRecord: Sendable, Hashable {
    /// What it came to.
    package enum Outcome: Sendable, Hashable {
        case completed(MeasuredCompletion)
        case failed(RequestFailure)
    }

    /// When it was to be sent.
    package let arrival: Double
    package let sent: Double
    /// When the completion ended or the failure was noticed.
    package let ended: Double
    /// Tokens that were asked for.
    package let outputLength: Int
    package let outcome: Outcome

    package init(
        arrival: Double, sent: Double, ended: Double, outputLength: Int, outcome: Outcome
    ) {
        self.arrival = arrival
        self.sent = sent
        self.ended = ended
        self.outputLength = outputLength
        self.outcome = outcome
    }

    package var completion: MeasuredCompletion? {
        if case .completed(let completion) = outcome { completion } else { nil }
    }

    package var failure: RequestFailure? {
        if case .failed(let failure) = outcome { failure } else { nil }
    }

    /// How long after its arrival it was sent.
    package var lag: Double { sent - arrival }
}
