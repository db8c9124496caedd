import Foundation
import NanoDevice
import NanoFlow
import NanoTestSupport
import Testing

/// The engine from its front door: how completions end, how requests go away, what is refused.
@Suite struct EngineTests {
    static let prompt = Prompt.tokens([5, 17, 200, 33, 4, 99])

    static func sampling(_ maxTokens: Int = 40) -> SamplingParameters {
        SamplingParameters(temperature: 0, maxTokens: maxTokens, ignoresEndOfSequence: true)
    }

    // MARK: - Ends

    /// The same answers however steps are formed and run, changed while the engine runs.
    @Test func theWayStepsAreRunChangesNoAnswer() async throws {
        let llm = try await tinyModel(EngineConfiguration(precision: .int8))
        let workload = try Workload(
            promptTokens: 50, completionTokens: 20, requestCount: 12, seed: 8)
        let run = try OfflineRun(workload, on: llm, ignoresEndOfSequence: true)
        let expected = try await run.run()
        for mode in PipelineMode.allCases {
            for (budget, schedulesAhead) in [(nil, false), (40, true), (1, false), (9999, true)] {
                llm.engine.inbox.choose(
                    PipelineChoice(
                        mode: mode, tokenBudget: budget, schedulesAhead: schedulesAhead))
                let outcome = try await run.run()
                #expect(outcome.answers == expected.answers, "\(mode), \(budget ?? 0)")
                if let budget {
                    #expect(outcome.steps.steps >= outcome.steps.tokens / budget)
                }
                if mode == .sequential { #expect(outcome.steps.cutSteps == 0) }
            }
        }
        await llm.shutdown()
    }

    @Test func aCompletionHasExactlyMaxTokens() async throws {
        let llm = try await tinyModel()
        for count in [1, 2, 16, 17] {
            let completion = try await llm.generate(Self.prompt, sampling: Self.sampling(count))
            #expect(completion.tokens.count == count)
            #expect(completion.finishReason == .length)
            #expect(completion.usage.completionTokens == count)
            #expect(completion.usage.promptTokens == 6)
        }
        await llm.shutdown()
    }

    @Test func onlyUnfinishedRequestsMakeTimeWithoutProgress() async throws {
        let llm = try await tinyModel()
        #expect(llm.engine.secondsWithoutProgress == 0)
        var seconds = 0.0
        // A test that was preempted here looks only after the end: then it looks once more.
        while seconds == 0 {
            let stream = try llm.stream(Self.prompt, sampling: Self.sampling())
            seconds = llm.engine.secondsWithoutProgress
            for try await _ in stream {}
        }
        #expect(llm.engine.secondsWithoutProgress == 0)
        await llm.shutdown()
    }

    @Test func withoutALimitACompletionFillsTheContext() async throws {
        let llm = try await tinyModel(EngineConfiguration(precision: .f32, maxModelLength: 64))
        var sampling = Self.sampling()
        sampling.maxTokens = nil
        let completion = try await llm.generate(Self.prompt, sampling: sampling)
        #expect(completion.tokens.count == 58)
        #expect(completion.finishReason == .length)
        await llm.shutdown()
    }

    @Test func aStopTokenEndsTheCompletionAndIsCounted() async throws {
        let llm = try await tinyModel()
        let whole = try await llm.generate(Self.prompt, sampling: Self.sampling())
        let ids = whole.tokens.map(\.id)
        var sampling = Self.sampling()
        sampling.stopTokens = [ids[20]]
        let first = try #require(ids.firstIndex(of: ids[20]))
        let stopped = try await llm.generate(Self.prompt, sampling: sampling)
        #expect(stopped.tokens.map(\.id) == Array(ids[...first]))
        #expect(stopped.finishReason == .stop)
        #expect(stopped.usage.completionTokens == first + 1)
        await llm.shutdown()
    }

    @Test func aStopStringIsCutOffWhereverItsBytesFall() async throws {
        let llm = try await tinyModel()
        let whole = try await llm.generate(Self.prompt, sampling: Self.sampling())
        let text = whole.text
        for length in 1...5 {
            let start = text.index(text.startIndex, offsetBy: 12)
            let stop = String(text[start..<text.index(start, offsetBy: length)])
            var sampling = Self.sampling()
            sampling.stopStrings = ["never to be found", stop]
            let stopped = try await llm.generate(Self.prompt, sampling: sampling)
            let expected = try #require(text.range(of: stop)).lowerBound
            #expect(stopped.text == String(text[..<expected]))
            #expect(stopped.finishReason == .stop)
        }
        await llm.shutdown()
    }

    @Test func anEndOfSequenceTokenEndsUnlessIgnored() async throws {
        let llm = try await tinyModel()
        let end = try #require(llm.tokens(of: .text("<|im_end|>")).first)
        // Drawn at a high temperature the token comes up sooner or later.
        var sampling = SamplingParameters(temperature: 5, seed: 3, maxTokens: 480)
        let completion = try await llm.generate(Self.prompt, sampling: sampling)
        #expect(completion.finishReason == .stop)
        #expect(completion.tokens.last?.id == end)
        #expect(completion.tokens.last?.bytes == [])
        sampling.ignoresEndOfSequence = true
        let ignored = try await llm.generate(Self.prompt, sampling: sampling)
        #expect(ignored.tokens.count == 480)
        #expect(ignored.tokens.starts(with: completion.tokens))
        await llm.shutdown()
    }

    @Test func theEventsTextsJoinedAreTheCompletion() async throws {
        let llm = try await tinyModel()
        var sampling = SamplingParameters(temperature: 3, seed: 8, maxTokens: 200)
        sampling.stopStrings = ["\u{1F600}", "zz"]
        let whole = try await llm.generate(Self.prompt, sampling: sampling)
        var bytes: [UInt8] = []
        for token in whole.tokens { bytes += token.bytes }
        let text = String(decoding: bytes, as: UTF8.self)
        #expect(text.hasPrefix(whole.text) && !whole.text.isEmpty)
        await llm.shutdown()
    }

    // MARK: - Requests go away

    @Test func aDroppedStreamIsAbortedAndOthersGoOn() async throws {
        let llm = try await tinyModel()
        let expected = try await llm.generate(Self.prompt, sampling: Self.sampling(100))
        async let other = llm.generate(Self.prompt, sampling: Self.sampling(100))
        for taken in 0..<20 {
            var count = 0
            for try await _ in try llm.stream(Self.prompt, sampling: Self.sampling(400)) {
                if count == taken { break }
                count += 1
            }
        }
        #expect(try await other == expected)
        try await expectIdle(llm)
        await llm.shutdown()
    }

    @Test func aCancelledTaskEndsItsRequest() async throws {
        let llm = try await tinyModel()
        let (seen, continuation) = AsyncStream.makeStream(of: Void.self)
        let task = Task {
            for try await _ in try llm.stream(Self.prompt, sampling: Self.sampling(500)) {
                continuation.yield()
            }
        }
        for await _ in seen { break }
        task.cancel()
        _ = try? await task.value
        try await expectIdle(llm)
        await llm.shutdown()
    }

    @Test func shutdownEndsStreamsAndRefusesRequests() async throws {
        let llm = try await tinyModel()
        let stream = try llm.stream(Self.prompt, sampling: Self.sampling(500))
        await llm.shutdown()
        var reason: FinishReason?
        for try await event in stream {
            if case .finished(let end) = event { reason = end.reason }
        }
        #expect(reason == .abort)
        #expect(throws: NanoFlowError.self) {
            try llm.stream(Self.prompt, sampling: Self.sampling())
        }
    }

    // MARK: - Refusals

    @Test func badRequestsNameTheirField() async throws {
        let llm = try await tinyModel()
        let long = [Int](repeating: 1, count: 512)
        let cases: [(Prompt, SamplingParameters, String)] = [
            (.tokens([]), Self.sampling(), "prompt"), (.text(""), Self.sampling(), "prompt"),
            (.tokens(long), Self.sampling(), "prompt"),
            (.tokens([-1]), Self.sampling(), "prompt"), (.tokens([288]), Self.sampling(), "prompt"),
            (.tokens([.max]), Self.sampling(), "prompt"),
            (Self.prompt, Self.sampling(507), "max_tokens"),
            (Self.prompt, Self.sampling(0), "max_tokens"),
            (Self.prompt, Self.sampling(-1), "max_tokens"),
            (Self.prompt, SamplingParameters(temperature: .nan), "temperature"),
            (Self.prompt, SamplingParameters(temperature: -1), "temperature"),
            (Self.prompt, SamplingParameters(topP: 0), "top_p"),
            (Self.prompt, SamplingParameters(topK: -5), "top_k"),
            (Self.prompt, SamplingParameters(minP: 2), "min_p"),
            (Self.prompt, SamplingParameters(repetitionPenalty: 0), "repetition_penalty"),
            (Self.prompt, SamplingParameters(stopTokens: [1000]), "stop_token_ids"),
            (Self.prompt, SamplingParameters(stopStrings: [""]), "stop"),
            (Self.prompt, SamplingParameters(logprobCount: 21), "logprobs"),
        ]
        for (prompt, sampling, field) in cases {
            let error = #expect(throws: NanoFlowError.self) {
                try llm.stream(prompt, sampling: sampling)
            }
            #expect(error?.field == field)
        }
        #expect(llm.runningRequestCount == 0)
        await llm.shutdown()
    }

    @Test func aQueueFullOfTokensRefuses() async throws {
        var configuration = EngineConfiguration(precision: .f32)
        // One prompt of the longest length may always come.
        configuration.maxQueuedTokens = 1
        let llm = try await tinyModel(configuration)
        let prompt = Prompt.tokens(Array(repeating: 7, count: 300))
        let first = try llm.stream(prompt, sampling: Self.sampling(200))
        let error = #expect(throws: NanoFlowError.self) {
            try llm.stream(prompt, sampling: Self.sampling(1))
        }
        #expect(error?.code == .queueFull)
        #expect(error?.field == "prompt tokens")
        #expect(error?.given == "600")
        for try await _ in first {}
        _ = try await llm.generate(prompt, sampling: Self.sampling(1))
        await llm.shutdown()
    }

    @Test func aFullQueueRefuses() async throws {
        let llm = try await tinyModel(
            EngineConfiguration(precision: .f32, maxSequences: 2, maxQueuedRequests: 3))
        let streams = try (0..<5).map { _ in
            try llm.stream(Self.prompt, sampling: Self.sampling(400))
        }
        let error = #expect(throws: NanoFlowError.self) {
            try llm.stream(Self.prompt, sampling: Self.sampling())
        }
        #expect(error?.code == .queueFull)
        withExtendedLifetime(streams) {}
        await llm.shutdown()
    }

    @Test func configurationsThatCannotWorkAreRefused() async throws {
        let cases: [(EngineConfiguration, NanoFlowError.Code, String)] = [
            (.init(precision: .int8, kvPrecision: .f32), .invalidConfiguration, "kv-precision"),
            (.init(groupSize: 48), .invalidConfiguration, "group-size"),
            (.init(threadCount: 0), .invalidConfiguration, "threads"),
            (.init(maxSequences: 0), .invalidConfiguration, "max-num-seqs"),
            (.init(maxModelLength: 513), .invalidConfiguration, "max-model-len"),
            (.init(kvCacheByteCount: 1000), .insufficientMemory, "kv-cache-memory"),
            (.init(kvCacheByteCount: 1 << 49, maxSequences: 4096), .insufficientMemory, "memory"),
        ]
        for (configuration, code, field) in cases.dropLast() {
            let error = await #expect(throws: NanoFlowError.self) {
                _ = try await tinyModel(configuration)
            }
            #expect(error?.code == code && error?.field == field, "\(configuration)")
        }
        let missing = await #expect(throws: NanoFlowError.self) {
            _ = try await LLM(model: "/nowhere/model.gguf")
        }
        #expect(missing?.code == .modelLoading)
    }

    @Test func theCacheIsAsPreciseAsTheProductsUnlessTheHeadsForbid() throws {
        let defaults = { (precision: Precision, dimension: Int) in
            try EngineSettings.kvPrecision(nil, precision, headDimension: dimension)
        }
        #expect(try defaults(.f32, 6) == .f32)
        #expect(try defaults(.bf16, 6) == .bf16)
        #expect(try defaults(.int8, 6) == .bf16)
        #expect(try defaults(.int8, 64) == .int8)
        #expect(try EngineSettings.kvPrecision(.bf16, .int8, headDimension: 64) == .bf16)
        let error = #expect(throws: NanoFlowError.self) {
            _ = try EngineSettings.kvPrecision(.int8, .int8, headDimension: 6)
        }
        #expect(error?.field == "kv-precision" && error?.given == "int8")
    }

    @Test(arguments: InstructionSet.allCases.filter(\.isSupported))
    func vectorKernelsComputeInInt8ByDefault(set: InstructionSet) async throws {
        var configuration = EngineConfiguration()
        configuration.instructionSet = set
        let llm = try await tinyModel(configuration)
        #expect(llm.engine.settings.precision == (set == .portable ? .f32 : .int8))
        await llm.shutdown()
    }

    private func expectIdle(_ llm: LLM) async throws {
        let deadline = ContinuousClock.now + .seconds(20)
        while llm.runningRequestCount > 0 {
            try #require(.now < deadline, "the requests never ended")
            await Task.yield()
        }
    }
}
