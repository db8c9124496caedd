import Foundation
import NanoDevice
import NanoFlow
import NanoTestSupport
import Testing

/// The f32 path against Hugging Face transformers; the scripts beside the fixtures made them.
@Suite struct GoldenTests {
    static let tinyModels = ["tiny-llama", "tiny-llama31", "tiny-qwen2", "tiny-qwen2-tied"]

    struct TinyGolden: Decodable {
        struct Prompt: Decodable {
            let promptIds: [Int]
            let positions: [Int]
            let logits: [[Float]]
            let greedyIds: [Int]
        }

        let prompts: [Prompt]
    }

    @Test(arguments: tinyModels, [true, false])
    func tinyModelsGiveTheLogitsOfTransformers(name: String, usesBestKernels: Bool) throws {
        let golden = try Fixture.json(TinyGolden.self, "\(name).json")
        let forward = try ForwardPass(
            path: Fixture.engine("\(name).gguf").path,
            kernels: usesBestKernels ? .best : .portable)
        for prompt in golden.prompts {
            let logits = forward.logits(prompt.promptIds)
            for (position, expected) in zip(prompt.positions, prompt.logits) {
                let difference = maxDifference(logits[position], expected)
                #expect(difference < 1e-4, "\(name), position \(position)")
            }
        }
    }

    @Test(arguments: tinyModels)
    func tinyModelsContinueAsTransformersDo(name: String) async throws {
        let golden = try Fixture.json(TinyGolden.self, "\(name).json")
        let llm = try await LLM(
            model: Fixture.engine("\(name).gguf").path,
            configuration: EngineConfiguration(precision: .f32))
        for prompt in golden.prompts {
            let completion = try await llm.generate(
                .tokens(prompt.promptIds),
                sampling: SamplingParameters(
                    temperature: 0, maxTokens: prompt.greedyIds.count, ignoresEndOfSequence: true))
            #expect(completion.tokens.map(\.id) == prompt.greedyIds)
        }
        await llm.shutdown()
    }

    struct LogitsGolden: Decodable {
        struct Prompt: Decodable {
            let name: String
            let promptIds: [Int]
            let topIds: [Int]
            let topLogits: [Float]
            let sampledIds: [Int]
            let sampledLogits: [Float]
            let argmaxIds: [Int]
            let argmaxLogits: [Float]
            let argmaxMargins: [Float]
            let nextLogprobs: [Float]
        }

        let prompts: [Prompt]
    }

    @Test func defaultModelGivesTheLogitsOfTransformers() throws {
        let golden = try Fixture.json(LogitsGolden.self, "smollm2_logits.json")
        let forward = try ForwardPass(path: Fixture.defaultModelPath)
        for prompt in golden.prompts {
            let logits = forward.logits(prompt.promptIds)
            let last = try #require(logits.last)
            let top = maxDifference(prompt.topIds.map { last[$0] }, prompt.topLogits)
            let sampled = maxDifference(prompt.sampledIds.map { last[$0] }, prompt.sampledLogits)
            let argmax = maxDifference(
                zip(logits, prompt.argmaxIds).map { $0[$1] }, prompt.argmaxLogits)
            print("\(prompt.name): max difference \(max(top, sampled, argmax))")
            #expect(max(top, sampled, argmax) < 2e-3, "\(prompt.name)")
            for (position, row) in logits.enumerated() where prompt.argmaxMargins[position] > 4e-3 {
                let best = row.indices.max { row[$0] < row[$1] }
                #expect(best == prompt.argmaxIds[position], "\(prompt.name), \(position)")
            }
        }
    }

    @Test func defaultModelScoresPromptsAsTransformersDoes() async throws {
        let golden = try Fixture.json(LogitsGolden.self, "smollm2_logits.json")
        let llm = try await defaultModel()
        for prompt in golden.prompts {
            let scores = try await llm.score(prompt.promptIds)
            #expect(scores.count == prompt.promptIds.count - 1)
            #expect(maxDifference(scores, prompt.nextLogprobs) < 2e-3, "\(prompt.name)")
        }
        await llm.shutdown()
    }

    struct GreedyGolden: Decodable {
        struct Answer: Decodable {
            let name: String
            let question: String
            let promptIds: [Int]
            let tokenIds: [Int]
            let text: String
            let ended: Bool
        }

        let answers: [Answer]
    }

    @Test func defaultModelAnswersAsTransformersDoes() async throws {
        let golden = try Fixture.json(GreedyGolden.self, "smollm2_greedy.json")
        #expect(golden.answers.filter { $0.tokenIds.count >= 64 }.count >= 8)
        let llm = try await defaultModel()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for answer in golden.answers {
                group.addTask { try await expectAnswer(answer, llm) }
            }
            try await group.waitForAll()
        }
        await llm.shutdown()
    }

    private func expectAnswer(_ answer: GreedyGolden.Answer, _ llm: LLM) async throws {
        let chat = Prompt.chat([ChatMessage(role: "user", content: answer.question)])
        #expect(try llm.tokens(of: chat) == answer.promptIds, "\(answer.name)")
        let completion = try await llm.generate(
            chat, sampling: SamplingParameters(temperature: 0, maxTokens: answer.tokenIds.count))
        let ids = completion.tokens.map(\.id)
        // The goldens' margins beyond 64 tokens may be within rounding.
        let count = min(64, answer.tokenIds.count)
        #expect(ids.prefix(count) == answer.tokenIds.prefix(count), "\(answer.name)")
        if ids == answer.tokenIds { #expect(completion.text == answer.text) }
    }

    private func defaultModel() async throws -> LLM {
        try await LLM(
            model: Fixture.defaultModelPath, configuration: EngineConfiguration(precision: .f32))
    }
}

func maxDifference(_ a: [Float], _ b: [Float]) -> Float {
    precondition(a.count == b.count, "Only rows of one length can be compared.")
    return zip(a, b).reduce(0) { max($0, $1.0.isNaN ? .infinity : abs($1.0 - $1.1)) }
}
