import Foundation
import NanoDevice
import NanoFlow
import NanoModel
import NanoSearch
import NanoTestSupport
import Testing

/// Made-up steps on a tiny model, and a tuning of it from its beginning to its report.
@Suite struct TuneRunTests {
    static let configuration: EngineConfiguration = {
        var configuration = EngineConfiguration(
            precision: .f32, threadCount: 2, kvCacheByteCount: 8 << 20, maxSequences: 16,
            maxBatchedTokens: 64)
        configuration.plans = .generated
        return configuration
    }()

    private static func llm(_ makePlans: PlanMaker? = nil) async throws -> LLM {
        try await LLM(
            model: Fixture.engine("tiny-llama.gguf").path, configuration: configuration,
            makePlans: makePlans, progress: { _, _ in })
    }

    private static func answers(_ llm: LLM) async throws -> [[Int]] {
        var answers: [[Int]] = []
        for first in [1, 40, 80] {
            let completion = try await llm.generate(
                .tokens(Array(first..<first + 30)),
                sampling: SamplingParameters(temperature: 0, maxTokens: 12))
            answers.append(completion.tokens.map(\.id))
        }
        return answers
    }

    @Test func madeUpStepsAreTimedAndLeaveNothingBehind() async throws {
        let plain = try await Self.llm()
        let seen = Locked<[StepTimes?]>([])
        let measured = try await Self.llm { loaded, source, settings, _, _ in
            let bench = StepBench(loaded, limits: settings.limits)
            let layers = source.model.layerCount
            let decodes = ProfileCase(decodes: 8, context: 70)
            let chunk = ProfileCase(chunks: [32, 32], position: 64)
            for (step, count) in [(decodes, layers), (decodes, 1), (chunk, layers)] {
                let graph = OperationGraph.decoder(layerCount: count)
                let times = bench.run(step.batch, step.plan(graph), layerCount: count)
                seen.withLock { $0.append(times) }
                let overlapped = bench.run(step.batch, .overlapped(graph), layerCount: count)
                seen.withLock { $0.append(overlapped) }
            }
            return ChosenPlans(made: .generated(.decoder(layerCount: layers)))
        }
        let times = seen.withLock { $0.compactMap { $0 } }
        #expect(times.count == 6)
        for (index, times) in times.enumerated() {
            let isDecode = index < 4
            #expect(times.kinds[.qkvProjection] ?? 0 > 0)
            #expect((times.kinds[.decodeAttention] != nil) == isDecode)
            #expect((times.kinds[.prefillAttention] != nil) == !isDecode)
            let sum = times.kinds.sum() + times.waitingSeconds
            #expect(abs(times.seconds - sum) < 1e-9)
        }
        #expect(try await Self.answers(measured) == Self.answers(plain))
        #expect(measured.engine.plans.origin.hasPrefix("tuned just now, 1 shape of batches"))
        for llm in [plain, measured] { await llm.shutdown() }
    }

    @Test func aTuningLeavesPlansThatAnEngineTakes() async throws {
        let folder = NSTemporaryDirectory() + "nanoflow-tune-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let plans = folder + "/plans.json"
        let requests = [Workload.Request](
            repeating: Workload.Request(prompt: .random(count: 40), outputLength: 20), count: 24)
        let document = Locked<ReportDocument?>(nil)
        let warnings = Locked<[String]>([])
        let tuned = try await Self.llm {
            loaded, source, settings, fingerprint, progress throws(NanoFlowError) in
            var run = TuneRun(requests, seconds: 60, planPath: plans) { text in
                warnings.withLock { $0.append(text) }
            }
            run.profilePath = folder + "/profile.json"
            let result = try run.run(loaded, source, settings, fingerprint, progress)
            document.withLock {
                $0 = TuningReport(result, fingerprint, workload: "40 + 20").document
            }
            return ChosenPlans(made: result.tuning.table)
        }
        #expect(warnings.withLock { $0 } == [])
        let answers = try await Self.answers(tuned)
        await tuned.shutdown()

        var configuration = Self.configuration
        configuration.plans = .file(plans)
        let again = try await LLM(
            model: Fixture.engine("tiny-llama.gguf").path, configuration: configuration)
        #expect(again.engine.plans.refusal == nil)
        #expect(again.engine.plans.table?.tokenBudget != nil)
        #expect(try await Self.answers(again) == answers)
        await again.shutdown()

        let report = try #require(document.withLock { $0 })
        for part in ["What was chosen, and why", "in sequence", "Roofs", "GOP/s"] {
            #expect(report.markdown.contains(part), "\(part)")
        }
        #expect(report.html.contains("<svg"))
        #expect(FileManager.default.fileExists(atPath: folder + "/profile.json"))
    }

    @Test func whatCannotBeWrittenIsTold() async throws {
        let warnings = Locked<[String]>([])
        let unwritten = Locked(false)
        let llm = try await Self.llm {
            loaded, source, settings, fingerprint, progress throws(NanoFlowError) in
            let request = Workload.Request(prompt: .random(count: 8), outputLength: 2)
            var run = TuneRun([request], seconds: 60, planPath: "/dev/null/plans.json") { text in
                warnings.withLock { $0.append(text) }
            }
            run.profilePath = "/dev/null/profile.json"
            let result = try run.run(loaded, source, settings, fingerprint, progress)
            unwritten.withLock { $0 = result.planPath == nil }
            return ChosenPlans(made: result.tuning.table)
        }
        #expect(unwritten.withLock { $0 })
        await llm.shutdown()
        let told = warnings.withLock { $0 }
        #expect(told.contains { $0.hasPrefix("/dev/null/plans.json could not be written") })
        #expect(told.contains { $0.hasPrefix("/dev/null/profile.json could not be written") })
    }
}
