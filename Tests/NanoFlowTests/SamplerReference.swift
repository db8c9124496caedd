import Foundation
import NanoDevice
import NanoFlow
import NanoTestSupport
import Testing

/// A sampler with its memory, drawing from rows of logits.
final class SamplerBench {
    private let arena: MemoryArena
    private let sampler: Sampler
    private(set) var logits: [Float] = []
    private(set) var logprob: Float = .nan
    private let room: UnsafeMutablePointer<TokenLogprobPair>  // (maxAlternatives)
    private(set) var alternatives: [TokenLogprobPair] = []

    init(vocabularyCount: Int, kernels: Kernels) throws {
        arena = try #require(
            MemoryArena(
                name: "sampler", byteCount: Sampler.byteCount(vocabularyCount: vocabularyCount)))
        sampler = Sampler(vocabularyCount: vocabularyCount, kernels: kernels, arena: arena)
        room = .allocate(capacity: Sampler.maxAlternatives)
    }

    deinit { room.deallocate() }

    /// Draws the token behind `history`; `logits` is then the row as the draw has left it.
    func draw(
        _ row: [Float], _ parameters: SamplingParameters, seed: UInt64 = 1,
        history: [Int32] = [0], promptCount: Int = 1
    ) -> Int {
        logits = row
        let sampling = SlotSampling(parameters, seed: seed, promptCount: promptCount)
        let biases = parameters.biases(endTokens: []).all
        let result = history.withUnsafeBufferPointer { history in
            logits.withUnsafeMutableBufferPointer { logits in
                biases.withUnsafeBufferPointer { biases in
                    guard let row = logits.baseAddress else {
                        preconditionFailure("A row has logits.")
                    }
                    return sampler.sample(
                        sampling, biases: biases, logits: row, history: history,
                        alternatives: room)
                }
            }
        }
        logprob = result.logprob
        alternatives = (0..<Int(result.alternativeCount)).map { room[$0] }
        return Int(result.token)
    }

    func score(_ token: Int, _ row: [Float], alternativeCount: Int = 0) -> RowResult {
        var row = row
        return row.withUnsafeMutableBufferPointer { logits in
            guard let base = logits.baseAddress else { preconditionFailure("A row has logits.") }
            return sampler.score(
                Int32(token), alternativeCount: alternativeCount, logits: base,
                alternatives: room)
        }
    }
}

func randomLogits(
    _ count: Int, spread: Float, _ random: inout SeededGenerator
) -> [Float] {
    (0..<count).map { _ in
        // About normal: the sum of four uniform numbers.
        let sum = (0..<4).reduce(Float(0)) { sum, _ in
            sum + Float.random(in: -1...1, using: &random)
        }
        return sum * spread
    }
}

func randomParameters(_ random: inout SeededGenerator) -> SamplingParameters {
    SamplingParameters(
        temperature: [0.3, 0.7, 1, 1.7].randomElement(using: &random) ?? 1,
        topK: [0, 0, 1, 2, 10, 50, 20_000, 1_000_000].randomElement(using: &random) ?? 0,
        topP: [1, 1, 0.999, 0.9, 0.5, 0.01].randomElement(using: &random) ?? 1,
        minP: [0, 0, 1e-7, 0.02, 0.3, 1].randomElement(using: &random) ?? 0)
}

/// The probabilities that temperature, min-p, top-k and top-p leave, in double precision.
///
/// Tokens that stand on the edge within rounding are given a place in the set.
func exactDistribution(_ logits: [Float], _ parameters: SamplingParameters) -> [Double] {
    let maximum = Double(logits.max() ?? 0)
    let weights = logits.map { exp((Double($0) - maximum) / parameters.temperature) }
    var order = weights.indices.sorted {
        weights[$0] != weights[$1] ? weights[$0] > weights[$1] : $0 < $1
    }
    order = order.filter { weights[$0] >= parameters.minP * (1 - 1e-5) }
    if parameters.topK > 0 { order = Array(order.prefix(parameters.topK)) }
    let whole = order.reduce(0) { $0 + weights[$1] }
    var nucleus = 0.0
    var size = 0
    while size < order.count, size == 0 || nucleus < (parameters.topP + 1e-6) * whole {
        nucleus += weights[order[size]]
        size += 1
    }
    var result = [Double](repeating: 0, count: logits.count)
    for token in order.prefix(size) { result[token] = weights[token] / nucleus }
    return result
}

/// Penalties as ``SamplingParameters`` describes them.
func penalised(
    _ logits: [Float], _ history: [Int32], prompt: Int, _ parameters: SamplingParameters
) -> [Double] {
    var result = logits.map(Double.init)
    for token in Set(history) {
        let index = Int(token)
        result[index] *=
            result[index] > 0 ? 1 / parameters.repetitionPenalty : parameters.repetitionPenalty
        let times = history.dropFirst(prompt).filter { $0 == token }.count
        if times > 0 {
            result[index] -=
                parameters.presencePenalty + Double(times) * parameters.frequencyPenalty
        }
    }
    return result
}

func logProbabilities(_ logits: [Float]) -> [Double] {
    let maximum = Double(logits.max() ?? 0)
    let normalizer = maximum + log(logits.reduce(0) { $0 + exp(Double($1) - maximum) })
    return logits.map { Double($0) - normalizer }
}
