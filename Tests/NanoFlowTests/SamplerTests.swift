import Foundation
import NanoDevice
import NanoFlow
import NanoTestSupport
import Testing

@Suite struct SamplerTests {
    /// The kernels that this machine can run; each must do.
    static let kernelSets = [0, 1]

    static func kernels(_ set: Int) -> Kernels { set == 0 ? .portable : .best }

    // MARK: - Greedy

    @Test(arguments: kernelSets)
    func greedyTakesTheSmallestIDAmongEquals(set: Int) throws {
        let bench = try SamplerBench(vocabularyCount: 1000, kernels: Self.kernels(set))
        var logits = [Float](repeating: -1, count: 1000)
        for token in [999, 517, 516, 33] { logits[token] = 4 }
        let parameters = SamplingParameters(temperature: 0, topK: 5, topP: 0.1, minP: 0.9)
        #expect(bench.draw(logits, parameters) == 33)
        logits[33] = 3.999
        #expect(bench.draw(logits, parameters) == 516)
    }

    @Test(arguments: kernelSets)
    func damagedLogitsGiveAToken(set: Int) throws {
        let count = 700
        let bench = try SamplerBench(vocabularyCount: count, kernels: Self.kernels(set))
        let parameters = [
            SamplingParameters(temperature: 0), SamplingParameters(),
            SamplingParameters(temperature: 1e-40), SamplingParameters(temperature: 100),
            SamplingParameters(topK: 3), SamplingParameters(topP: 0.5),
            SamplingParameters(minP: 0.1), SamplingParameters(topK: 2, topP: 0.9, minP: 1e-9),
            SamplingParameters(
                repetitionPenalty: 1.3, presencePenalty: 1, frequencyPenalty: -1, logprobCount: 20),
        ]
        for damage in [Float.nan, .infinity, -.infinity, .greatestFiniteMagnitude] {
            for share in [1, 2, count] {
                for parameters in parameters {
                    var logits = [Float](repeating: 0, count: count)
                    for token in stride(from: 0, to: count, by: share) { logits[token] = damage }
                    let token = bench.draw(logits, parameters, history: [0, 1, 2, 3, 3])
                    #expect((0..<count).contains(token), "\(damage), \(share), \(parameters)")
                }
            }
        }
    }

    // MARK: - What may be drawn

    /// The set of tokens and their probabilities, against a plain reference; many seeds draw from
    /// each row, and what comes must be in the set, at its frequency.
    @Test(arguments: kernelSets)
    func smallRowsAreDrawnFromTheExactDistribution(set: Int) throws {
        var random = SeededGenerator(seed: 41)
        let count = 37
        let bench = try SamplerBench(vocabularyCount: count, kernels: Self.kernels(set))
        for row in 0..<40 {
            let logits = randomLogits(count, spread: 3, &random)
            let parameters = randomParameters(&random)
            let exact = exactDistribution(logits, parameters)
            var counts = [Double](repeating: 0, count: count)
            let draws = 3000
            for seed in 0..<UInt64(draws) {
                counts[bench.draw(logits, parameters, seed: seed &* 77_777)] += 1
            }
            var chiSquare = 0.0
            var categories = 0.0
            for token in 0..<count {
                let expected = exact[token] * Double(draws)
                if exact[token] == 0 {
                    #expect(counts[token] == 0, "row \(row): token \(token), \(parameters)")
                } else {
                    chiSquare += (counts[token] - expected) * (counts[token] - expected) / expected
                    categories += 1
                }
            }
            // Six standard deviations of the chi-square distribution, and room for rare tokens.
            let bound = categories + 6 * (2 * categories).squareRoot() + 10
            #expect(chiSquare < bound, "row \(row): \(parameters)")
        }
    }

    /// Rows of one tile, of tiles that are full or nearly so, and of many.
    @Test(arguments: kernelSets, [37, 255, 256, 257, 49_152])
    func aDrawInvertsTheCumulativeDistribution(set: Int, count: Int) throws {
        var random = SeededGenerator(seed: 46)
        let bench = try SamplerBench(vocabularyCount: count, kernels: Self.kernels(set))
        for row in 0..<8 {
            var logits = randomLogits(count, spread: row % 2 == 0 ? 0.3 : 3, &random)
            // A whole tile, and some, of which nothing may be drawn.
            if row >= 4 { for token in 10..<min(600, count - 1) { logits[token] = -.infinity } }
            let parameters = randomParameters(&random)
            let exact = exactDistribution(logits, parameters)
            for seed in UInt64(0)..<20 {
                let token = bench.draw(logits, parameters, seed: seed)
                let place = SlotSampling(parameters, seed: seed, promptCount: 1).uniform(at: 1)
                let below = exact[..<token].reduce(0, +)
                #expect(exact[token] > 0)
                // The reference keeps tokens that stand on the edge within a millionth.
                #expect(below - 1e-4 <= place && place <= below + exact[token] + 1e-4)
            }
        }
    }

    /// Where the likely tokens are not enough: top-p that reaches far into a flat row, top-k beyond
    /// what lies within e^-12 of the best, and rows of equals.
    @Test(arguments: [
        (topK: 0, topP: 0.9), (0, 0.95), (0, 0.999), (0, 1 - 1e-9), (20_000, 1), (20_000, 0.99),
        (49_152, 0.95),
    ])
    func longTailsAreDrawnFromTheExactSet(topK: Int, topP: Double) throws {
        var random = SeededGenerator(seed: 47)
        let count = 49_152
        let bench = try SamplerBench(vocabularyCount: count, kernels: .best)
        for (spread, temperature) in [(3, 1), (8, 1), (3, 1.7), (0, 1), (1, 100)] {
            let logits = randomLogits(count, spread: Float(spread), &random)
            let parameters = SamplingParameters(
                temperature: Double(temperature), topK: topK, topP: topP)
            let exact = exactDistribution(logits, parameters)
            for seed in UInt64(0)..<12 {
                let token = bench.draw(logits, parameters, seed: seed)
                let place = SlotSampling(parameters, seed: seed, promptCount: 1).uniform(at: 1)
                let below = exact[..<token].reduce(0, +)
                #expect(exact[token] > 0, "\(spread), \(temperature)")
                #expect(below - 1e-4 <= place && place <= below + exact[token] + 1e-4)
            }
        }
    }

    /// Large rows go through the short cut for likely tokens, and sometimes must not.
    @Test(arguments: kernelSets)
    func largeRowsAreDrawnFromTheExactSet(set: Int) throws {
        var random = SeededGenerator(seed: 42)
        let count = 49_152
        let bench = try SamplerBench(vocabularyCount: count, kernels: Self.kernels(set))
        for row in 0..<25 {
            let spread: Float = [0.1, 1, 3, 8].randomElement(using: &random) ?? 1
            let logits = randomLogits(count, spread: spread, &random)
            let parameters = randomParameters(&random)
            let exact = exactDistribution(logits, parameters)
            let size = exact.filter { $0 > 0 }.count
            for seed in UInt64(0)..<6 {
                let token = bench.draw(logits, parameters, seed: seed)
                #expect(
                    exact[token] > 0,
                    "row \(row): token \(token) is none of \(size), \(parameters), \(spread)")
            }
        }
    }

    /// The nucleus is a share of all that min-p left, though most of it be unlikely tokens.
    @Test(arguments: kernelSets)
    func topPCountsTheTailThatMinPLeaves(set: Int) throws {
        let count = 49_152
        let bench = try SamplerBench(vocabularyCount: count, kernels: Self.kernels(set))
        // Weights: 1, then 50 of 0.0025, then 49,101 of 3.7e-6 that add up to 0.18.
        var logits = [Float](repeating: -12.5, count: count)
        logits[0] = 0
        for token in 1...50 { logits[token] = -6 - Float(token) / 1000 }
        let parameters = SamplingParameters(topP: 0.85, minP: 1e-6)
        let exact = exactDistribution(logits, parameters)
        #expect(exact[40] > 0 && exact[50] == 0)
        let drawn = Set((0..<500).map { bench.draw(logits, parameters, seed: $0) })
        #expect(drawn.count > 10)
        #expect(drawn.allSatisfy { exact[$0] > 0 })
    }

    // MARK: - Penalties

    @Test(arguments: kernelSets)
    func penaltiesAreTheReferencesAndTheLogitsComeBack(set: Int) throws {
        var random = SeededGenerator(seed: 43)
        let count = 211
        let bench = try SamplerBench(vocabularyCount: count, kernels: Self.kernels(set))
        for row in 0..<200 {
            let logits = randomLogits(count, spread: 2, &random)
            let history = (0..<Int.random(in: 1...60, using: &random)).map { _ in
                Int32.random(in: 0..<Int32(count / 4), using: &random)
            }
            let prompt = Int.random(in: 1...history.count, using: &random)
            let parameters = SamplingParameters(
                temperature: 0,
                repetitionPenalty: [0.5, 1, 1.1, 2].randomElement(using: &random) ?? 1,
                presencePenalty: [-2, 0, 1].randomElement(using: &random) ?? 0,
                frequencyPenalty: [-1, 0, 0.3].randomElement(using: &random) ?? 0)
            let expected = penalised(logits, history, prompt: prompt, parameters)
            let token = bench.draw(logits, parameters, history: history, promptCount: prompt)
            let best = expected.max() ?? 0
            #expect(expected[token] > best - 1e-5, "row \(row): \(parameters)")
            #expect(bench.logits == logits, "row \(row): the logits did not come back")
        }
    }

    // MARK: - Seeds

    @Test(arguments: kernelSets)
    func aDrawDependsOnSeedAndPositionAlone(set: Int) throws {
        var random = SeededGenerator(seed: 44)
        let count = 500
        let bench = try SamplerBench(vocabularyCount: count, kernels: Self.kernels(set))
        let other = try SamplerBench(vocabularyCount: count, kernels: Self.kernels(set))
        let rows = (0..<20).map { _ in randomLogits(count, spread: 1, &random) }
        let parameters = SamplingParameters(topP: 0.95)
        let first = rows.indices.map { row in
            bench.draw(rows[row], parameters, seed: 9, history: Array(repeating: 1, count: row + 1))
        }
        let again = rows.indices.reversed().map { row in
            other.draw(rows[row], parameters, seed: 9, history: Array(repeating: 2, count: row + 1))
        }
        #expect(first == again.reversed())
        #expect(Set(first).count > 10)
        let numbers = (0..<100).map {
            SlotSampling(parameters, seed: 9, promptCount: 1).uniform(at: $0)
        }
        #expect(Set(numbers).count == 100)
        #expect(numbers.allSatisfy { $0 >= 0 && $0 < 1 })
    }

    // MARK: - Log-probabilities

    @Test(arguments: kernelSets, [37, 1000, 49_152])
    func logprobsAreTheModelsOwn(set: Int, count: Int) throws {
        var random = SeededGenerator(seed: 45)
        let bench = try SamplerBench(vocabularyCount: count, kernels: Self.kernels(set))
        for _ in 0..<10 {
            var logits = randomLogits(count, spread: 4, &random)
            // Equals among the best.
            logits[count - 1] = logits.max() ?? 0
            let exact = logProbabilities(logits)
            let parameters = SamplingParameters(
                temperature: 0.7, repetitionPenalty: 1.2, logprobCount: 20)
            let token = bench.draw(logits, parameters, history: [1, 2, 3])
            #expect(abs(Double(bench.logprob) - exact[token]) < 2e-5)
            let order = logits.indices.sorted {
                logits[$0] != logits[$1] ? logits[$0] > logits[$1] : $0 < $1
            }
            #expect(bench.alternatives.map { Int($0.token) } == Array(order.prefix(20)))
            for pair in bench.alternatives {
                #expect(abs(Double(pair.logprob) - exact[Int(pair.token)]) < 2e-5)
            }
            let scored = Int.random(in: 0..<count, using: &random)
            let score = bench.score(scored, logits)
            #expect(Int(score.token) == scored)
            #expect(abs(Double(score.logprob) - exact[scored]) < 2e-5)
            #expect(Int(score.rank) == 1 + logits.count { $0 > logits[scored] })
            #expect(score.alternativeCount == 0)
            #expect(bench.score(scored, logits, alternativeCount: 20).alternativeCount == 20)
        }
    }

    @Test func biasesAreAddedBeforePenaltiesAndTakenBack() throws {
        let bench = try SamplerBench(vocabularyCount: 6, kernels: .portable)
        let logits: [Float] = [1, 2, 3, 4, 5, 6]
        var parameters = SamplingParameters(temperature: 0, repetitionPenalty: 10)
        parameters.logitBias = [5: -100, 0: 30]
        // 5 is ruled out, 0 is the likeliest but for its penalty: 31 / 10 < 5.
        #expect(bench.draw(logits, parameters, history: []) == 0)
        #expect(bench.draw(logits, parameters, history: [0]) == 4)
        #expect(bench.logits == logits)
    }

    @Test func minTokensRulesOutEndsForAsLong() {
        var parameters = SamplingParameters(stopTokens: [7])
        parameters.minTokens = 3
        parameters.logitBias = [9: 2]
        let biases = parameters.biases(endTokens: [2, 4])
        #expect(biases.all.map(\.token) == [2, 4, 7, 9])
        let no = -Float.infinity
        let values: [Float] = [no, no, no, 2]
        #expect(biases.all.map(\.value) == values)
        var sampling = SlotSampling(parameters, seed: 0, promptCount: 10)
        (sampling.biasCount, sampling.earlyBiasCount) = (4, biases.earlyCount)
        #expect(sampling.biases(at: 10) == 0..<4)
        #expect(sampling.biases(at: 12) == 0..<4)
        #expect(sampling.biases(at: 13) == 3..<4)
        parameters.ignoresEndOfSequence = true
        #expect(parameters.biases(endTokens: [2, 4]).all.map(\.token) == [7, 9])
    }

    @Test func noLogprobsAreComputedUnlessAsked() throws {
        let bench = try SamplerBench(vocabularyCount: 10, kernels: .portable)
        let logits = (0..<10).map(Float.init)
        _ = bench.draw(logits, SamplingParameters())
        #expect(bench.logprob.isNaN)
        #expect(bench.alternatives.isEmpty)
        _ = bench.draw(logits, SamplingParameters(logprobCount: 0))
        #expect(bench.logprob.isFinite)
        #expect(bench.alternatives.isEmpty)
        // Never more than there are tokens.
        _ = bench.draw(logits, SamplingParameters(logprobCount: 20))
        #expect(bench.alternatives.map(\.token) == Array((Int32(0)..<10).reversed()))
    }
}
