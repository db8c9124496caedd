/// How the tokens of one slot's sequence are drawn: plain numbers that the execution units read.
package struct SlotSampling: Sendable, Hashable {
    package var temperature: Float
    /// 0: all.
    package var topK: Int
    package var topP: Double
    package var minP: Double
    package var repetitionPenalty: Float
    package var presencePenalty: Float
    package var frequencyPenalty: Float
    package var seed: UInt64
    /// Tokens before this position are the prompt's: the last two penalties do not count them.
    package var promptCount: Int
    /// Alternatives to report beside the token's own log-probability; nil: no log-probabilities.
    package var logprobCount: Int?
    /// As ``logprobCount``, for the tokens of the prompt.
    package var promptLogprobCount: Int?
    /// The slot's biases, and those at their beginning that hold for the completion's first
    /// ``minTokens`` tokens alone.
    package var biasCount = 0
    package var earlyBiasCount = 0
    package var minTokens: Int

    package init(_ parameters: SamplingParameters, seed: UInt64, promptCount: Int) {
        temperature = Float(parameters.temperature)
        topK = parameters.topK
        topP = parameters.topP
        minP = parameters.minP
        repetitionPenalty = Float(parameters.repetitionPenalty)
        presencePenalty = Float(parameters.presencePenalty)
        frequencyPenalty = Float(parameters.frequencyPenalty)
        self.seed = seed
        self.promptCount = promptCount
        logprobCount = parameters.logprobCount
        promptLogprobCount = parameters.promptLogprobCount
        minTokens = parameters.minTokens
    }

    /// The slot's biases that hold for the token behind `count` tokens of prompt and completion.
    package func biases(at count: Int) -> Range<Int> {
        (count - promptCount < minTokens ? 0 : earlyBiasCount)..<biasCount
    }

    /// 1 / temperature; 0, greedy, also where that is no number.
    var inverseTemperature: Float {
        let inverse = 1 / temperature
        return inverse.isFinite ? inverse : 0
    }

    /// Whether all tokens may be drawn.
    func keepsAll(of vocabularyCount: Int) -> Bool {
        minP == 0 && topP >= 1 && (topK == 0 || topK >= vocabularyCount)
    }

    /// Whether all logits of the row behind `count` tokens are needed; else what the LM head keeps of
    /// each tile is enough.
    func wantsLogits(of vocabularyCount: Int, at count: Int) -> Bool {
        hasPenalties || logprobCount != nil || !biases(at: count).isEmpty
            || (inverseTemperature > 0 && !keepsAll(of: vocabularyCount))
    }

    var hasPenalties: Bool {
        repetitionPenalty != 1 || presencePenalty != 0 || frequencyPenalty != 0
    }

    /// A number in [0, 1) that depends on the seed and the position alone.
    ///
    /// So a draw does not depend on what else runs. SplitMix64 (Steele et al. 2014) over both.
    package func uniform(at position: Int) -> Double {
        var state = seed &+ UInt64(bitPattern: Int64(position)) &* 0x9E37_79B9_7F4A_7C15
        for _ in 0..<2 {
            state &+= 0x9E37_79B9_7F4A_7C15
            state = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
            state = (state ^ (state >> 27)) &* 0x94D0_49BB_1331_11EB
            state ^= state >> 31
        }
        return Double(state >> 11) * 0x1p-53
    }
}

/// What is added to a token's logit before anything else changes it; -infinity rules it out.
package struct LogitBias: Sendable, Hashable {
    package let token: Int32
    package let value: Float

    package init(token: Int32, value: Float) {
        self.token = token
        self.value = value
    }
}

/// What sampling or scoring one row of logits gave.
package struct RowResult: Sendable {
    /// The sampled token, or the scored one.
    package var token: Int32 = 0
    /// Its log-probability under the model's own distribution; NaN where nobody asked.
    package var logprob: Float = .nan
    /// Of a scored token: its place among all tokens by likelihood, from 1.
    package var rank: Int32 = 0
    /// Alternatives written behind it in the step's table.
    package var alternativeCount: Int32 = 0
}
