import Foundation
import NanoFlow
import NanoModel
import NanoTestSupport
import NanoTokenizer
import Testing

/// The batch runner: the same answers as one request at a time, and figures that add up.
@Suite struct OfflineRunTests {
    private static let prompts = [[5, 17, 200, 33, 4, 99], [7], Array(1...70), [250, 3]]

    private static func workload() -> Workload {
        Workload(
            requests: prompts.enumerated().map { index, prompt in
                Workload.Request(prompt: .tokens(prompt), outputLength: 10 + 7 * index)
            })
    }

    @Test(arguments: [EngineConfiguration(precision: .f32), EngineConfiguration(precision: .int8)])
    func theAnswersAreThoseOfSingleRequests(configuration: EngineConfiguration) async throws {
        let llm = try await tinyModel(configuration)
        let outcome = try await OfflineRun(
            Self.workload(), on: llm, ignoresEndOfSequence: true
        ).run()
        for (index, prompt) in Self.prompts.enumerated() {
            let alone = try await llm.generate(
                .tokens(prompt),
                sampling: SamplingParameters(
                    temperature: 0, maxTokens: 10 + 7 * index, ignoresEndOfSequence: true))
            #expect(outcome.answers[index].tokens == alone.tokens.map(\.id))
            #expect(outcome.answers[index].text == alone.text)
            #expect(outcome.answers[index].finishReason == .length)
        }
        await llm.shutdown()
    }

    @Test func everyRequestDrawsFromASeedOfItsOwn() async throws {
        let llm = try await tinyModel()
        var sampling = SamplingParameters(temperature: 1.5, topP: 0.95)
        let outcome = try await OfflineRun(
            Self.workload(), on: llm, sampling: sampling, ignoresEndOfSequence: true
        ).run()
        sampling.ignoresEndOfSequence = true
        for (index, prompt) in Self.prompts.enumerated() {
            sampling.seed = UInt64(index)
            sampling.maxTokens = 10 + 7 * index
            let alone = try await llm.generate(.tokens(prompt), sampling: sampling)
            #expect(outcome.answers[index].tokens == alone.tokens.map(\.id))
        }
        let error = #expect(throws: NanoFlowError.self) {
            _ = try OfflineRun(
                Self.workload(), on: llm, sampling: SamplingParameters(temperature: 500),
                ignoresEndOfSequence: true)
        }
        #expect(error?.field == "temperature")
        await llm.shutdown()
    }

    @Test func textsAreEncodedAndMayEnd() async throws {
        let llm = try await tinyModel()
        let texts = ["Hello", "a b c"]
        let workload = Workload(
            requests: texts.map { Workload.Request(prompt: .text($0), outputLength: 60) },
            hasTexts: true)
        let outcome = try await OfflineRun(workload, on: llm, ignoresEndOfSequence: false).run()
        for (text, answer) in zip(texts, outcome.answers) {
            let alone = try await llm.generate(
                .text(text), sampling: SamplingParameters(temperature: 0, maxTokens: 60))
            #expect(answer.tokens == alone.tokens.map(\.id))
            #expect(answer.text == alone.text)
            #expect(answer.finishReason == alone.finishReason)
        }
        await llm.shutdown()
    }

    @Test func theFiguresAddUp() async throws {
        let llm = try await tinyModel(EngineConfiguration(precision: .f32, threadCount: 2))
        let run = try OfflineRun(Self.workload(), on: llm, ignoresEndOfSequence: true)
        // The second run counts its own only.
        _ = try await run.run()
        let outcome = try await run.run()
        let prompts = Self.prompts.reduce(0) { $0 + $1.count }
        let completions = 10 + 17 + 24 + 31
        #expect(outcome.load.promptTokens == prompts)
        #expect(outcome.load.completionTokens == completions)
        // The last token of each completion is not fed back.
        #expect(outcome.steps.tokens == prompts + completions - 4)
        #expect(run.maxComputedTokens == outcome.steps.tokens)
        // All fit into one step, so the longest completion takes one step a token.
        #expect(outcome.steps.steps == 31 && outcome.steps.logitSteps == 31)
        // A decode step at a context of n reads n positions.
        let contexts = zip(Self.prompts, [10, 17, 24, 31]).reduce(0) { sum, request in
            let (prompt, count) = (request.0.count, request.1)
            return sum + (0..<count).reduce(0) { $0 + prompt + $1 }
        }
        #expect(outcome.steps.contextTokens == contexts)
        let times = outcome.times
        let kinds = Operation.Kind.allCases.filter { $0.resource != .network }
        #expect(Set(times.entries.map(\.kind)) == Set(kinds))
        #expect(times.entries.map(\.seconds) == times.entries.map(\.seconds).sorted(by: >))
        let busy = times.entries.reduce(0) { $0 + $1.seconds } + times.waitingSeconds
        // The units may leave the last step a little after its last token is out.
        #expect(busy > 0 && busy < outcome.seconds * 1.2 + 0.01)
        await llm.shutdown()
    }

    @Test func randomPromptsDependOnTheSeedAlone() async throws {
        let llm = try await tinyModel()
        var answers: [[[Int]]] = []
        for seed in [UInt64(1), 1, 2] {
            let workload = try Workload(
                promptTokens: 20, completionTokens: 12, requestCount: 5, seed: seed)
            let run = try OfflineRun(workload, on: llm, ignoresEndOfSequence: true)
            answers.append(try await run.run().answers.map(\.tokens))
        }
        #expect(answers[0] == answers[1])
        #expect(answers[0] != answers[2])
        await llm.shutdown()
    }

    @Test func requestsThatDoNotFitAreNamed() async throws {
        let llm = try await tinyModel()
        let cases: [(Workload.Prompt, Int, String)] = [
            (.tokens([288]), 1, "request 1: prompt"), (.tokens([-1]), 1, "request 1: prompt"),
            (.tokens([Int](repeating: 1, count: 512)), 1, "request 1: prompt"),
            (.random(count: 1 << 24), 1, "request 1: prompt"), (.text(""), 1, "request 1: prompt"),
            (.tokens([1, 2]), 511, "request 1"), (.random(count: 500), 1 << 24, "request 1"),
        ]
        for (prompt, length, field) in cases {
            let workload = Workload(requests: [
                Workload.Request(prompt: .tokens([1]), outputLength: 1),
                Workload.Request(prompt: prompt, outputLength: length),
            ])
            let error = #expect(throws: NanoFlowError.self) {
                try OfflineRun(workload, on: llm, ignoresEndOfSequence: true)
            }
            #expect(error?.field == field)
        }
        #expect(llm.runningRequestCount == 0)
        await llm.shutdown()
    }

    @Test func shapesHaveAsManyLayersAsPublishedAtMost() throws {
        for layers in [0, -1, 33, .max] {
            let error = #expect(throws: NanoFlowError.self) {
                try ModelSource(.llama3With8B, layerCount: layers)
            }
            #expect(error?.field == "layers")
        }
        let source = try ModelSource(.llama3With8B, layerCount: 4)
        #expect(source.model.layerCount == 4)
        #expect(source.tokenizer.vocabularyCount == 128_256)
        #expect(source.tokenizer.endOfGenerationTokens.isEmpty)
        #expect(source.tokenizer.encode("hé", parseSpecialTokens: true).count == 3)
    }
}
