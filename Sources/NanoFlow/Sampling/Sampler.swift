import CNanoKernels
import Glibc
package import NanoDevice

/// Draws one token from a row of logits.
///
/// In: logits of one position. Out: a token and, on request, log-probabilities. One instance an
/// execution unit: it owns scratch memory, and nothing is allocated after `init`.
package struct Sampler {
    private let vocabularyCount: Int
    private let kernels: Kernels
    // Occurrences in the completion; `seenMark` is added to any token that was seen at all.
    private let occurrences: UnsafeMutableBufferPointer<Int32>  // (vocabulary)
    private let touched: UnsafeMutableBufferPointer<ChangedLogit>  // (biases + vocabulary)
    private let tiles: UnsafeMutableBufferPointer<LogitTile>  // (tile of the vocabulary)
    private let truncated: TruncatedDraw

    /// A logit as it was.
    private struct ChangedLogit {
        var token: Int32
        var logit: Float
    }

    private static let seenMark: Int32 = 1 << 24

    /// Alternatives that a result can hold.
    package static let maxAlternatives = SamplingParameters.maxLogprobCount

    /// Bytes of scratch memory that a sampler cuts.
    package static func byteCount(vocabularyCount: Int) -> Int {
        MemoryArena.byteCount(Int32.self, vocabularyCount)
            + MemoryArena.byteCount(
                ChangedLogit.self, vocabularyCount + SlotTables.maxBiasCount)
            + TruncatedDraw.byteCount(vocabularyCount: vocabularyCount)
            + MemoryArena.byteCount(
                LogitTile.self, LogitTiles.count(vocabularyCount: vocabularyCount))
    }

    package init(vocabularyCount: Int, kernels: Kernels, arena: MemoryArena) {
        self.vocabularyCount = vocabularyCount
        self.kernels = kernels
        occurrences = arena.cut(Int32.self, count: vocabularyCount)
        touched = arena.cut(
            ChangedLogit.self, count: vocabularyCount + SlotTables.maxBiasCount)
        tiles = arena.cut(
            LogitTile.self, count: LogitTiles.count(vocabularyCount: vocabularyCount))
        truncated = TruncatedDraw(vocabularyCount: vocabularyCount, arena: arena)
    }

    /// The log-probability of `token`, its rank, and the likeliest tokens of its place.
    ///
    /// - Parameters:
    ///   - token: The one that stands there.
    ///   - alternativeCount: How many of the likeliest to give.
    ///   - logits: (vocabulary).
    ///   - alternatives: Room for ``maxAlternatives``.
    /// - Returns: The token, its log-probability and its rank.
    package func score(
        _ token: Int32, alternativeCount: Int, logits: UnsafeMutablePointer<Float>,
        alternatives: UnsafeMutablePointer<TokenLogprobPair>
    ) -> RowResult {
        let normalizer = logNormalizer(logits)
        let own = logits[Int(token)]
        var result = RowResult(token: token, logprob: Self.reported(own - normalizer), rank: 1)
        for other in 0..<vocabularyCount where logits[other] > own { result.rank += 1 }
        result.alternativeCount = Int32(
            mostLikely(alternativeCount, logits, normalizer, into: alternatives))
        return result
    }

    /// Draws the token that follows `history`.
    ///
    /// - Parameters:
    ///   - sampling: How to draw.
    ///   - biases: Of the tokens whose logits are changed first.
    ///   - logits: (vocabulary); as they were when this returns.
    ///   - history: The sequence's tokens up to the position whose logits these are.
    ///   - alternatives: Room for ``maxAlternatives``; filled as the sampling asks.
    /// - Returns: The token, and its log-probability where the sampling asks for it.
    package func sample(
        _ sampling: SlotSampling, biases: UnsafeBufferPointer<LogitBias>,
        logits: UnsafeMutablePointer<Float>, history: UnsafeBufferPointer<Int32>,
        alternatives: UnsafeMutablePointer<TokenLogprobPair>
    ) -> RowResult {
        var result = RowResult()
        var normalizer: Float = 0
        if let count = sampling.logprobCount {
            normalizer = logNormalizer(logits)
            result.alternativeCount = Int32(
                mostLikely(count, logits, normalizer, into: alternatives))
        }
        for (index, bias) in biases.enumerated() {
            touched[index] = ChangedLogit(token: bias.token, logit: logits[Int(bias.token)])
            logits[Int(bias.token)] += bias.value
        }
        var touchedCount = biases.count
        if sampling.hasPenalties {
            touchedCount = penalise(sampling, logits, history, touchedCount: touchedCount)
        }
        result.token = draw(sampling, logits, position: history.count)
        // A token may have been changed twice: back to what it was first.
        for entry in touched[..<touchedCount].reversed() {
            logits[Int(entry.token)] = entry.logit
        }
        if sampling.logprobCount != nil {
            result.logprob = Self.reported(logits[Int(result.token)] - normalizer)
        }
        return result
    }

    /// JSON has no infinity: what is impossible is reported as nearly so, as vLLM does.
    private static func reported(_ logprob: Float) -> Float {
        logprob < -9999 ? -9999 : logprob
    }

    private func logNormalizer(_ logits: UnsafeMutablePointer<Float>) -> Float {
        var maximum: Float = 0
        _ = kernels.functions.pointee.argmax(logits, Int32(vocabularyCount), &maximum)
        let sum = kernels.functions.pointee.sum_exp(logits, Int32(vocabularyCount), maximum, 1)
        return maximum + log(sum)
    }

    /// The `count` most likely tokens, best first, by insertion: count is at most 20.
    private func mostLikely(
        _ count: Int, _ logits: UnsafeMutablePointer<Float>, _ normalizer: Float,
        into out: UnsafeMutablePointer<TokenLogprobPair>
    ) -> Int {
        var filled = 0
        for token in 0..<vocabularyCount where count > 0 {
            let logprob = Self.reported(logits[token] - normalizer)
            guard !logprob.isNaN else { continue }
            if filled == count {
                guard logprob > out[count - 1].logprob else { continue }
            } else {
                filled += 1
            }
            var place = filled - 1
            while place > 0, out[place - 1].logprob < logprob {
                out[place] = out[place - 1]
                place -= 1
            }
            out[place] = TokenLogprobPair(token: Int32(token), logprob: logprob)
        }
        return filled
    }

    /// Changes the logits of the tokens in `history`; keeps the old ones in `touched`, behind those
    /// that are there; returns how many are.
    private func penalise(
        _ sampling: SlotSampling, _ logits: UnsafeMutablePointer<Float>,
        _ history: UnsafeBufferPointer<Int32>, touchedCount: Int
    ) -> Int {
        var count = touchedCount
        for (position, token) in history.enumerated() {
            let index = Int(token)
            if occurrences[index] == 0 {
                occurrences[index] = Self.seenMark
                touched[count] = ChangedLogit(token: token, logit: logits[index])
                count += 1
            }
            if position >= sampling.promptCount { occurrences[index] += 1 }
        }
        for entry in touched[touchedCount..<count] {
            let index = Int(entry.token)
            let times = occurrences[index] - Self.seenMark
            occurrences[index] = 0
            var logit = entry.logit
            logit *= logit > 0 ? 1 / sampling.repetitionPenalty : sampling.repetitionPenalty
            if times > 0 {
                logit -= sampling.presencePenalty + Float(times) * sampling.frequencyPenalty
            }
            logits[index] = logit
        }
        return count
    }

    private func draw(
        _ sampling: SlotSampling, _ logits: UnsafeMutablePointer<Float>, position: Int
    ) -> Int32 {
        let inverse = sampling.inverseTemperature
        let random = sampling.uniform(at: position)
        let tiles = tiled(logits, inverse)
        let best = tiles.likeliest
        guard inverse > 0, best.maximum.isFinite else { return best.token }
        if sampling.keepsAll(of: vocabularyCount) {
            return tiles.draw(inverseTemperature: inverse, random: random) {
                UnsafePointer(logits + $0 * LogitTiles.columnCount)
            }
        }
        return truncated.draw(sampling, logits, tiles, random: random) ?? best.token
    }

    /// The row's tiles, as the LM head makes them where it keeps nothing else.
    private func tiled(_ logits: UnsafeMutablePointer<Float>, _ inverse: Float) -> LogitTiles {
        for index in tiles.indices {
            let tokens = LogitTiles.tokens(index, vocabularyCount: vocabularyCount)
            tiles[index] = LogitTile(
                logits + tokens.lowerBound, count: tokens.count, firstToken: tokens.lowerBound,
                inverseTemperature: inverse, kernels: kernels)
        }
        return LogitTiles(
            tiles: UnsafeBufferPointer(tiles), vocabularyCount: vocabularyCount)
    }
}

/// A token and its log-probability, as the execution units write them.
package struct TokenLogprobPair: Sendable {
    package var token: Int32
    package var logprob: Float
}
