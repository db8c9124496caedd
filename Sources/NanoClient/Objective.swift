package import NanoFlow

/// What a request must keep to count as good.
package struct Objective: Sendable, Hashable, Encodable {
    private enum Measure: String, CaseIterable {
        /// To the first token.
        case ttft
        /// For each token after the first.
        case tpot
        /// For the whole request.
        case e2el
        /// For the whole request, by the completion's tokens.
        case normalized
    }

    /// ms.
    private var limits: [Measure: Double] = [:]

    /// Reads "ttft=2000,tpot=200".
    ///
    /// - Throws: ``NanoFlowError`` for a name that is unknown or comes twice, and for a time that is
    ///   no number of ms above 0.
    package init(_ text: String) throws(NanoFlowError) {
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let sides = part.split(separator: "=", maxSplits: 1).map(String.init)
            guard sides.count == 2, let measure = Measure(rawValue: sides[0]),
                let milliseconds = Double(sides[1]), milliseconds > 0, milliseconds.isFinite,
                limits.updateValue(milliseconds, forKey: measure) == nil
            else {
                let names = Measure.allCases.map(\.rawValue).joined(separator: ", ")
                throw NanoFlowError(
                    .invalidConfiguration, field: "objective",
                    limit: "each of \(names) at most once, with its ms, as in ttft=2000,tpot=200",
                    given: text)
            }
        }
    }

    /// Whether the completion keeps all that is asked for; a single token has no time per token.
    package func isMet(by completion: MeasuredCompletion) -> Bool {
        limits.allSatisfy { measure, limit in
            let seconds =
                switch measure {
                case .ttft: completion.timeToFirstToken
                case .tpot: completion.timePerOutputToken ?? 0
                case .e2el: completion.latency
                case .normalized: completion.normalizedLatency
                }
            return seconds * 1000 <= limit
        }
    }

    /// As ``init(_:)`` reads it.
    package var text: String {
        Measure.allCases.compactMap { measure in
            limits[measure].map {
                "\(measure.rawValue)=\(decimal($0, $0 == $0.rounded() ? 0 : 3))"
            }
        }.joined(separator: ",")
    }

    /// Names and ms.
    package func encode(to encoder: any Encoder) throws {
        try Dictionary(uniqueKeysWithValues: limits.map { ($0.key.rawValue, $0.value) })
            .encode(to: encoder)
    }
}
