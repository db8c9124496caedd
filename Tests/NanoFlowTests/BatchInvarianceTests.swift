import Foundation
import NanoDevice
import NanoFlow
import NanoTestSupport
import Testing

/// An answer depends on the request alone: not on the batch, the threads, the chunks, the pool.
@Suite struct BatchInvarianceTests {
    static let precisions: [EngineConfiguration] = {
        let best = [
            EngineConfiguration(precision: .f32), EngineConfiguration(precision: .bf16),
            EngineConfiguration(precision: .int8, groupSize: 32),
            EngineConfiguration(precision: .int8, kvPrecision: .bf16, groupSize: 0),
        ]
        let others = InstructionSet.allCases.filter { $0.isSupported && $0 != .best }
        let all =
            best
            + others.flatMap { set in
                [Precision.bf16, .int8].map {
                    var configuration = EngineConfiguration(precision: $0)
                    configuration.instructionSet = set
                    return configuration
                }
            }
        // What is compared is to be computed each time.
        return all.map {
            var configuration = $0
            configuration.reusesPrefixes = false
            return configuration
        }
    }()

    /// Prompts of 1 to 120 tokens.
    static let prompts: [[Int]] = {
        var random = SeededGenerator(seed: 11)
        return (0..<64).map { index in
            (0..<(1 + index * 119 / 63)).map { _ in Int.random(in: 0..<256, using: &random) }
        }
    }()

    static func sampling(_ index: Int) -> SamplingParameters {
        // Every other request draws, from a seed of its own; half of all keep a row of logits.
        SamplingParameters(
            temperature: index.isMultiple(of: 2) ? 0 : 0.9, topK: index % 3 == 0 ? 20 : 0,
            topP: index % 5 == 0 ? 0.9 : 1, repetitionPenalty: index % 7 == 0 ? 1.2 : 1,
            seed: UInt64(index), maxTokens: 24, ignoresEndOfSequence: true,
            logprobCount: index % 4 < 2 ? 2 : nil)
    }

    @Test(arguments: precisions)
    func aRequestAloneAndAmongSixtyThreeOthersGivesTheSame(
        configuration: EngineConfiguration
    ) async throws {
        let llm = try await tinyModel(configuration)
        let together = try await answers(llm, Self.prompts)
        for index in stride(from: 0, to: Self.prompts.count, by: 5) {
            let alone = try await llm.generate(
                .tokens(Self.prompts[index]), sampling: Self.sampling(index))
            #expect(alone == together[index], "prompt \(index)")
        }
        await llm.shutdown()
    }

    @Test(arguments: precisions)
    func chunksAndThreadsChangeNothing(
        configuration: EngineConfiguration
    ) async throws {
        var reference = configuration
        reference.threadCount = 1
        let model = try await tinyModel(reference)
        let expected = try await answers(model, Self.prompts)
        await model.shutdown()
        for (chunk, threads) in [(7, 2), (16, 3), (33, 1), (512, 5)] {
            var varied = configuration
            varied.maxBatchedTokens = chunk
            varied.threadCount = threads
            let llm = try await tinyModel(varied)
            #expect(try await answers(llm, Self.prompts) == expected, "\(chunk), \(threads)")
            await llm.shutdown()
        }
    }

    /// With them the whole row of logits is kept, without them only what a draw needs.
    @Test(arguments: precisions)
    func askingForLogprobsChangesNoToken(configuration: EngineConfiguration) async throws {
        let llm = try await tinyModel(configuration)
        for index in 0..<12 {
            var sampling = SamplingParameters(
                temperature: index == 0 ? 0 : 0.5 * Double(index), seed: UInt64(index),
                maxTokens: 40, ignoresEndOfSequence: true)
            let prompt = Prompt.tokens(Self.prompts[index * 5])
            let plain = try await llm.generate(prompt, sampling: sampling)
            sampling.logprobCount = 0
            let scored = try await llm.generate(prompt, sampling: sampling)
            #expect(plain.tokens.map(\.id) == scored.tokens.map(\.id), "prompt \(index * 5)")
            #expect(Set(plain.tokens.map(\.id)).count > 1)
        }
        await llm.shutdown()
    }

    @Test(arguments: precisions)
    func preemptionChangesNothing(configuration: EngineConfiguration) async throws {
        // The forecast does not know that they go on to their limit.
        let sampling = SamplingParameters(
            temperature: 1, seed: 5, maxTokens: 300, stopStrings: ["no such text"],
            ignoresEndOfSequence: true)
        let prompts = Self.prompts.prefix(12)
        let roomy = try await tinyModel(configuration)
        var expected: [Completion] = []
        for prompt in prompts {
            expected.append(try await roomy.generate(.tokens(prompt), sampling: sampling))
        }
        #expect(roomy.engine.status.scheduler.preemptions == 0)
        await roomy.shutdown()
        var tight = configuration
        // 9 blocks: one sequence of the context's 512 tokens and one block more.
        tight.kvCacheByteCount =
            9
            * KVArena.blockByteCount(
                layers: 2, kvHeads: 2, headDimension: 16,
                type: roomy.engine.settings.kvPrecision.kernelType)
        let llm = try await tinyModel(tight)
        var short = sampling
        short.maxTokens = 1
        for _ in 0..<CompletionLengths.leastCount {
            _ = try await llm.generate(.tokens(prompts[0]), sampling: short)
        }
        let answers = try await withThrowingTaskGroup(of: (Int, Completion).self) { group in
            for (index, prompt) in prompts.enumerated() {
                group.addTask {
                    (index, try await llm.generate(.tokens(prompt), sampling: sampling))
                }
            }
            return try await group.reduce(into: [Int: Completion]()) { $0[$1.0] = $1.1 }
        }
        #expect(llm.engine.status.scheduler.preemptions > 0)
        for (index, completion) in expected.enumerated() {
            #expect(answers[index] == completion, "prompt \(index)")
        }
        await llm.shutdown()
    }

    @Test func scoresDoNotDependOnTheBatch() async throws {
        let llm = try await tinyModel(EngineConfiguration(precision: .int8, maxBatchedTokens: 50))
        let prompts = Self.prompts.filter { $0.count > 1 }
        let together = try await withThrowingTaskGroup(of: (Int, [Float]).self) { group in
            for (index, prompt) in prompts.enumerated() {
                group.addTask { (index, try await llm.score(prompt)) }
            }
            return try await group.reduce(into: [Int: [Float]]()) { $0[$1.0] = $1.1 }
        }
        for (index, prompt) in prompts.enumerated() {
            let alone = try await llm.score(prompt)
            #expect(alone == together[index] && alone.allSatisfy { $0 < 0 }, "prompt \(index)")
        }
        await llm.shutdown()
    }

    @Test func theDefaultModelAnswersAloneAsAmongSixtyThreeOthers() async throws {
        let llm = try await LLM(model: Fixture.defaultModelPath)
        let prompts = (0..<64).map { index in
            Prompt.chat([ChatMessage(role: "user", content: "Tell me about the number \(index).")])
        }
        let sampling = SamplingParameters(temperature: 0, maxTokens: 24)
        let together = try await withThrowingTaskGroup(of: (Int, Completion).self) { group in
            for (index, prompt) in prompts.enumerated() {
                group.addTask { (index, try await llm.generate(prompt, sampling: sampling)) }
            }
            return try await group.reduce(into: [Int: Completion]()) { $0[$1.0] = $1.1 }
        }
        for index in stride(from: 0, to: 64, by: 7) {
            let alone = try await llm.generate(prompts[index], sampling: sampling)
            #expect(alone == together[index], "prompt \(index)")
        }
        await llm.shutdown()
    }

    /// The prompt is longer than an item of those that attention is cut into.
    @Test(arguments: [KVPrecision.bf16, .int8])
    func aLongPromptMayBeCutAnywhere(kvPrecision: KVPrecision) async throws {
        var random = SeededGenerator(seed: 12)
        let prompt = (0..<560).map { _ in Int.random(in: 0..<40_000, using: &random) }
        let sampling = SamplingParameters(
            temperature: 0, maxTokens: 16, ignoresEndOfSequence: true, logprobCount: 0)
        var expected: Completion?
        for (chunk, threads) in [(1024, 1), (190, 3), (1, 2)] {
            let llm = try await LLM(
                model: Fixture.defaultModelPath,
                configuration: EngineConfiguration(
                    kvPrecision: kvPrecision, threadCount: threads, maxSequences: 4,
                    maxBatchedTokens: chunk, maxModelLength: 600))
            let completion = try await llm.generate(.tokens(prompt), sampling: sampling)
            #expect(completion == expected ?? completion, "\(chunk), \(threads)")
            expected = completion
            await llm.shutdown()
        }
    }

    @Test func theLikeliestTokenIsTheSameWithoutAllLogits() async throws {
        let llm = try await tinyModel(EngineConfiguration(precision: .f32))
        for prompt in Self.prompts.suffix(20) {
            var tokens: [[Int]] = []
            for count in [nil, 0] {
                let sampling = SamplingParameters(
                    temperature: 0, maxTokens: 12, ignoresEndOfSequence: true, logprobCount: count)
                tokens.append(
                    try await llm.generate(.tokens(prompt), sampling: sampling).tokens.map(\.id))
            }
            #expect(tokens[0] == tokens[1])
        }
        await llm.shutdown()
    }

    private func answers(_ llm: LLM, _ prompts: [[Int]]) async throws -> [Completion] {
        let all = try await withThrowingTaskGroup(of: (Int, Completion).self) { group in
            for (index, prompt) in prompts.enumerated() {
                group.addTask {
                    (index, try await llm.generate(.tokens(prompt), sampling: Self.sampling(index)))
                }
            }
            return try await group.reduce(into: [Int: Completion]()) { $0[$1.0] = $1.1 }
        }
        return prompts.indices.compactMap { all[$0] }
    }
}

func tinyModel(
    _ configuration: EngineConfiguration = EngineConfiguration(precision: .f32),
    _ name: String = "tiny-llama"
) async throws -> LLM {
    try await LLM(
        model: Fixture.engine("\(name).gguf").path, configuration: configuration)
}
