import NanoDevice
import NanoFlow
import NanoModel
import Testing

/// Keys and values of earlier requests that later ones use again: the same answers, bit for bit.
@Suite struct PrefixReuseTests {
    static func tokens(_ count: Int, seed: Int = 0) -> [Int] {
        (0..<count).map { ($0 * 37 + seed * 11 + 5) % 250 + 3 }
    }

    static func sampling(_ maxTokens: Int, temperature: Double = 0) -> SamplingParameters {
        SamplingParameters(
            temperature: temperature, seed: 7, maxTokens: maxTokens, ignoresEndOfSequence: true,
            logprobCount: 3)
    }

    private static func configuration(
        _ precision: Precision, reuses: Bool
    ) -> EngineConfiguration {
        var configuration = EngineConfiguration(
            precision: precision, threadCount: 2, kvCacheByteCount: 4 << 20,
            maxBatchedTokens: 96)
        configuration.reusesPrefixes = reuses
        return configuration
    }

    /// Rounds of two conversations in turn; each prompt is the round before with its answer and more.
    private static func rounds(_ llm: LLM, temperature: Double) async throws -> [Completion] {
        var histories = [tokens(100), tokens(70) + tokens(60, seed: 1)]
        var completions: [Completion] = []
        for round in 0..<4 {
            for index in histories.indices {
                histories[index] += tokens(10 + 9 * round, seed: 2 + index)
                let completion = try await llm.generate(
                    .tokens(histories[index]), sampling: sampling(25, temperature: temperature))
                histories[index] += completion.tokens.map(\.id)
                completions.append(completion)
            }
        }
        return completions
    }

    @Test(arguments: [Precision.f32, .bf16, .int8], [0, 0.8])
    func aCachedPrefixChangesNoAnswer(precision: Precision, temperature: Double) async throws {
        let plain = try await tinyModel(Self.configuration(precision, reuses: false))
        let reusing = try await tinyModel(Self.configuration(precision, reuses: true))
        let expected = try await Self.rounds(plain, temperature: temperature)
        let answers = try await Self.rounds(reusing, temperature: temperature)
        #expect(answers.map(\.tokens) == expected.map(\.tokens))
        #expect(expected.allSatisfy { $0.usage.cachedPromptTokens == 0 })
        // 110 tokens, of which a block of 64 is the same in both conversations.
        #expect(answers.map(\.usage.cachedPromptTokens).prefix(2) == [0, 64])
        for (index, answer) in answers.enumerated().dropFirst(2) {
            // All full blocks of the round before, its answer's among them, but not its last token,
            // which was never computed.
            let before = answers[index - 2].usage
            let known = (before.promptTokens + before.completionTokens - 1) / 64 * 64
            #expect(answer.usage.cachedPromptTokens == known)
        }
        for llm in [plain, reusing] { await llm.shutdown() }
    }

    @Test func saltsKeepTenantsApart() async throws {
        let llm = try await tinyModel(Self.configuration(.f32, reuses: true))
        func cached(_ salt: String?) async throws -> Int? {
            let stream = try llm.stream(
                .tokens(Self.tokens(200)), sampling: Self.sampling(1), cacheSalt: salt)
            for try await event in stream {
                if case .finished(let end) = event { return end.usage.cachedPromptTokens }
            }
            return nil
        }
        #expect(try await cached("a") == 0)
        #expect(try await cached("b") == 0)
        #expect(try await cached(nil) == 0)
        #expect(try await cached("a") == 192)
        #expect(try await cached(nil) == 192)
        await llm.shutdown()
    }

    /// Prompts with one beginning, more of them than the cache has room for: blocks are taken from
    /// prefixes all the time, and answers stay what they are alone.
    @Test func aFullCacheForgetsAndStaysRight() async throws {
        var configuration = Self.configuration(.f32, reuses: true)
        configuration.maxModelLength = 320
        configuration.maxSequences = 8
        configuration.reusesPrefixes = false
        configuration.kvCacheByteCount = 64 << 20
        let plain = try await tinyModel(configuration)
        // Twelve blocks: two sequences and a half.
        let model = plain.engine.model
        configuration.reusesPrefixes = true
        configuration.kvCacheByteCount =
            12
            * KVArena.blockByteCount(
                layers: model.layerCount, kvHeads: model.kvHeadCount,
                headDimension: model.headDimension, type: KVPrecision.f32.kernelType)
        let small = try await tinyModel(configuration)
        let prompts = (0..<24).map { index in
            Self.tokens(64 * (1 + index % 3)) + Self.tokens(20 + index, seed: index % 7)
        }
        func answers(_ llm: LLM) async throws -> [[GeneratedToken]] {
            try await withThrowingTaskGroup(of: (Int, [GeneratedToken]).self) { group in
                for (index, prompt) in prompts.enumerated() {
                    group.addTask {
                        let completion = try await llm.generate(
                            .tokens(prompt), sampling: Self.sampling(40))
                        return (index, completion.tokens)
                    }
                }
                var all = prompts.map { _ in [GeneratedToken]() }
                for try await (index, tokens) in group { all[index] = tokens }
                return all
            }
        }
        let expected = try await answers(plain)
        #expect(try await answers(small) == expected)
        #expect(try await answers(small) == expected)
        for llm in [small, plain] { await llm.shutdown() }
    }

    @Test func scoresAreThoseOfAPromptThatNobodyHasSeen() async throws {
        let llm = try await tinyModel(Self.configuration(.f32, reuses: true))
        let prompt = Self.tokens(150)
        let before = try await llm.score(prompt)
        _ = try await llm.generate(.tokens(prompt), sampling: Self.sampling(4))
        #expect(try await llm.score(prompt) == before)
        await llm.shutdown()
    }
}
