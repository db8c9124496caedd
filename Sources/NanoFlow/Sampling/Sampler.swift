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
    private let touched: UnsafeMutableBufferPointer<PenalisedToken>  // (vocabulary)
    private let candidates: UnsafeMutableBufferPointer<Candidate>  // (vocabulary)

    private struct PenalisedToken {
        var token: Int32
        var logit: Float
    }

    private struct Candidate {
        var token: Int32
        var logit: Float

        /// The order of likelihood; among equals the smaller id comes first.
        static func isLikelier(_ a: Candidate, _ b: Candidate) -> Bool {
            a.logit != b.logit ? a.logit > b.logit : a.token < b.token
        }
    }

    private static let seenMark: Int32 = 1 << 24

    /// Alternatives that a result can hold.
    package static let maxAlternatives = SamplingParameters.maxLogprobCount

    /// Bytes of scratch memory that a sampler cuts.
    package static func byteCount(vocabularyCount: Int) -> Int {
        MemoryArena.byteCount(Int32.self, vocabularyCount)
            + MemoryArena.byteCount(PenalisedToken.self, vocabularyCount)
            + MemoryArena.byteCount(Candidate.self, vocabularyCount)
    }

    package init(vocabularyCount: Int, kernels: Kernels, arena: MemoryArena) {
        self.vocabularyCount = vocabularyCount
        self.kernels = kernels
        occurrences = arena.cut(Int32.self, count: vocabularyCount)
        touched = arena.cut(PenalisedToken.self, count: vocabularyCount)
        candidates = arena.cut(Candidate.self, count: vocabularyCount)
    }

    /// The log-probability of `token`.
    package func score(_ token: Int32, logits: UnsafeMutablePointer<Float>) -> RowResult {
        let logprob = Self.reported(logits[Int(token)] - logNormalizer(logits))
        return RowResult(token: token, logprob: logprob)
    }

    /// Draws the token that follows `history`.
    ///
    /// - Parameters:
    ///   - sampling: How to draw.
    ///   - logits: (vocabulary); as they were when this returns.
    ///   - history: The sequence's tokens up to the position whose logits these are.
    ///   - alternatives: Room for ``maxAlternatives``; filled as the sampling asks.
    /// - Returns: The token, and its log-probability where the sampling asks for it.
    package func sample(
        _ sampling: SlotSampling, logits: UnsafeMutablePointer<Float>,
        history: UnsafeBufferPointer<Int32>, alternatives: UnsafeMutablePointer<TokenLogprobPair>
    ) -> RowResult {
        var result = RowResult()
        var normalizer: Float = 0
        if let count = sampling.logprobCount {
            normalizer = logNormalizer(logits)
            result.alternativeCount = Int32(
                mostLikely(count, logits, normalizer, into: alternatives))
        }
        let touchedCount = sampling.hasPenalties ? penalise(sampling, logits, history) : 0
        result.token = draw(sampling, logits, position: history.count)
        for index in 0..<touchedCount {
            logits[Int(touched[index].token)] = touched[index].logit
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

    /// Changes the logits of the tokens in `history`; keeps the old ones in `touched`.
    private func penalise(
        _ sampling: SlotSampling, _ logits: UnsafeMutablePointer<Float>,
        _ history: UnsafeBufferPointer<Int32>
    ) -> Int {
        var count = 0
        for (position, token) in history.enumerated() {
            let index = Int(token)
            if occurrences[index] == 0 {
                occurrences[index] = Self.seenMark
                touched[count] = PenalisedToken(token: token, logit: logits[index])
                count += 1
            }
            if position >= sampling.promptCount { occurrences[index] += 1 }
        }
        for entry in touched[..<count] {
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
        var maximum: Float = 0
        let best = kernels.functions.pointee.argmax(logits, Int32(vocabularyCount), &maximum)
        guard sampling.temperature > 0, maximum.isFinite else { return best }
        let random = sampling.uniform(at: position)
        let inverse = 1 / sampling.temperature
        let keepsAll =
            sampling.minP == 0 && sampling.topP >= 1
            && (sampling.topK == 0 || sampling.topK >= vocabularyCount)
        return keepsAll
            ? drawFromAll(logits, maximum, inverse, random) ?? best
            : drawFromLikeliest(sampling, logits, maximum, inverse, random) ?? best
    }

    /// Inverse of the cumulative distribution in the order of ids: first over runs, then in one.
    private func drawFromAll(
        _ logits: UnsafeMutablePointer<Float>, _ maximum: Float, _ inverse: Float, _ random: Double
    ) -> Int32? {
        let run = 512
        let sum = { (start: Int) -> Double in
            let count = Int32(min(run, vocabularyCount - start))
            return Double(
                kernels.functions.pointee.sum_exp(logits + start, count, maximum, inverse))
        }
        let starts = stride(from: 0, to: vocabularyCount, by: run)
        var rest = random * starts.reduce(0) { $0 + sum($1) }
        var last: Int32?
        for start in starts {
            let mass = sum(start)
            if rest >= mass {
                rest -= mass
                continue
            }
            for token in start..<min(start + run, vocabularyCount) {
                let mass = Double(exp((logits[token] - maximum) * inverse))
                if mass > 0 { last = Int32(token) }
                if rest < mass { return Int32(token) }
                rest -= mass
            }
            // Rounding left a rest behind the run's last token.
            return last
        }
        return last
    }

    /// Draws from what min-p, top-k and top-p leave, in the order of likelihood.
    private func drawFromLikeliest(
        _ sampling: SlotSampling, _ logits: UnsafeMutablePointer<Float>, _ maximum: Float,
        _ inverse: Float, _ random: Double
    ) -> Int32? {
        let lowest = sampling.minP > 0 ? Float(log(sampling.minP)) : -.infinity
        let topK = sampling.topK == 0 ? vocabularyCount : min(sampling.topK, vocabularyCount)
        // Nearly always the likely ones, e^-12 of the best or more, are enough to decide. With
        // min-p there is no short cut: top-p is then a share of all that it leaves.
        var kept = 0
        for floor in sampling.minP > 0 ? [lowest] : [-12, lowest] {
            kept = gather(logits, maximum, inverse, floor)
            if floor == lowest || isEnough(kept, topK, sampling.topP, logits, maximum, inverse) {
                break
            }
        }
        var sorted = UnsafeMutableBufferPointer(rebasing: candidates[..<kept])
        sorted.sort(by: Candidate.isLikelier)
        kept = min(kept, topK)
        var whole = 0.0
        for entry in sorted[..<kept] { whole += exp(Double(entry.logit)) }
        // Beyond top-k nothing counts; without it the dropped tail counts in the whole.
        if topK == vocabularyCount, lowest == -.infinity {
            whole = Double(
                kernels.functions.pointee.sum_exp(logits, Int32(vocabularyCount), maximum, inverse))
        }
        var nucleus = 0.0
        var size = 0
        while size < kept, nucleus < sampling.topP * whole || size == 0 {
            nucleus += exp(Double(sorted[size].logit))
            size += 1
        }
        var rest = random * nucleus
        for entry in sorted[..<size] {
            rest -= exp(Double(entry.logit))
            if rest < 0 { return entry.token }
        }
        return size > 0 ? sorted[size - 1].token : nil
    }

    /// Fills `candidates` with the tokens whose scaled logit, less the best one's, is `floor` or
    /// more.
    private func gather(
        _ logits: UnsafeMutablePointer<Float>, _ maximum: Float, _ inverse: Float, _ floor: Float
    ) -> Int {
        var count = 0
        for token in 0..<vocabularyCount {
            let scaled = (logits[token] - maximum) * inverse
            guard scaled >= floor else { continue }
            candidates[count] = Candidate(token: Int32(token), logit: scaled)
            count += 1
        }
        return count
    }

    private func isEnough(
        _ count: Int, _ topK: Int, _ topP: Double, _ logits: UnsafeMutablePointer<Float>,
        _ maximum: Float, _ inverse: Float
    ) -> Bool {
        if count >= topK { return true }
        guard topK == vocabularyCount, topP < 1 else { return false }
        let whole = kernels.functions.pointee.sum_exp(
            logits, Int32(vocabularyCount), maximum, inverse)
        let mass = candidates[..<count].reduce(0.0) { $0 + exp(Double($1.logit)) }
        return mass >= topP * Double(whole)
    }
}

/// A token and its log-probability, as the execution units write them.
package struct TokenLogprobPair: Sendable {
    package var token: Int32
    package var logprob: Float
}
