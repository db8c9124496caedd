import Foundation
import NanoDevice
import NanoFlow
import NanoTestSupport
import Testing

/// What the timeline tells of a run, and how it is shown.
@Suite struct TimelineTests {
    private static let requestCount = 24

    private func trace(_ mode: PipelineMode) async throws -> (PipelineTrace, Int) {
        var configuration = EngineConfiguration(precision: .int8, threadCount: 2)
        configuration.pipeline.mode = mode
        let llm = try await tinyModel(configuration)
        let workload = try Workload(
            promptTokens: 40, completionTokens: 12, requestCount: Self.requestCount, seed: 3)
        _ = try await OfflineRun(workload, on: llm, ignoresEndOfSequence: true).run()
        let steps = llm.engine.counters.sums.steps
        // With the engine's end the units have noted their last events.
        await llm.shutdown()
        return (
            PipelineTrace(llm.engine.timeline, llm.engine.history, unitCount: 2), steps
        )
    }

    @Test(arguments: PipelineMode.allCases)
    func everyStepIsThereWithAllItsWork(mode: PipelineMode) async throws {
        let (trace, stepCount) = try await trace(mode)
        #expect(trace.nanoBatchCounts.count == stepCount)
        let isCut = mode == .nanoBatched || mode == .overlapped
        #expect(trace.nanoBatchCounts.contains(2) == isCut)
        // 24 x (40 + 11) rows through 2 layers; 24 x 12 through the LM head.
        let model = try ModelSource(Fixture.engine("tiny-llama.gguf").path).model
        let work = ModelWork(model)
        var load = TokenLoad()
        for _ in 0..<Self.requestCount { load.add(promptTokens: 40, completionTokens: 11) }
        let products: Set<NanoFlow.Operation.Kind> = [
            .qkvProjection, .outputProjection, .gateUpProjection, .downProjection,
        ]
        let operations = trace.events.filter { products.contains($0.kind) }
            .reduce(0) { $0 + $1.work.operations }
        let expected = 2 * Double(work.layerParameters * load.tokens)
        #expect(abs(operations / expected - 1) < 1e-9)
        let head = trace.events.filter { $0.kind == .lmHead }.reduce(0) { $0 + $1.work.operations }
        let rows = Double(Self.requestCount * 12)
        #expect(abs(head / (2 * Double(work.headParameters) * rows) - 1) < 1e-9)
    }

    @Test func aUnitDoesOneThingAtATime() async throws {
        let (trace, _) = try await trace(.overlapped)
        for unit in 0..<2 {
            let events = trace.events.filter { $0.unit == unit }
            #expect(events.allSatisfy { $0.start >= 0 && $0.end > $0.start && $0.tileCount > 0 })
            #expect(zip(events, events.dropFirst()).allSatisfy { $0.end <= $1.start })
        }
    }

    @Test func theTraceIsChromesFormat() async throws {
        let (trace, _) = try await trace(.overlapped)
        let data = try ChromeTrace(trace, kernel: "some_kernels").encoded()
        let file = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        let entries = try #require(file["traceEvents"] as? [[String: Any]])
        #expect(entries.count == trace.events.count + 2)
        let events = entries.filter { $0["ph"] as? String == "X" }
        #expect(events.count == trace.events.count)
        for (entry, event) in zip(events, trace.events) {
            let arguments = try #require(entry["args"] as? [String: Any])
            #expect(entry["name"] as? String == event.name)
            #expect(entry["tid"] as? Int == event.unit)
            let start = try #require(entry["ts"] as? Double)
            #expect(abs(start - event.start * 1e6) < 1e-6)
            #expect(arguments["kernel"] as? String == "some_kernels")
            #expect(arguments["nano_batch"] as? Int == event.nanoBatch)
        }
    }

    @Test func thePictureShowsOneLayerOfACutStep() async throws {
        let (trace, _) = try await trace(.overlapped)
        let excerpt = try #require(trace.excerpt)
        #expect(excerpt.layer == 1)
        #expect(trace.nanoBatchCounts[excerpt.step] == 2)
        #expect(
            excerpt.events.allSatisfy {
                $0.start >= excerpt.start && $0.end <= excerpt.end && $0.step == excerpt.step
            })
        let drawing = PipelineDrawing(
            excerpt, unitCount: 2,
            roofs: PipelineDrawing.Roofs(operations: 1e9, bytes: 1e9), title: "a < b & c")
        let svg = drawing.svg
        #expect(svg.hasPrefix("<svg ") && svg.hasSuffix("</svg>\n"))
        #expect(svg.contains("a &lt; b &amp; c"))
        for text in ["unit 1, memory", "nano-batch 1", "arithmetic", "decodeAttention.0"] {
            #expect(svg.contains(text), "\(text)")
        }
        for tag in ["text", "title"] {
            let opened = svg.ranges(of: "<\(tag)>").count + svg.ranges(of: "<\(tag) ").count
            #expect(opened == svg.ranges(of: "</\(tag)>").count)
        }
    }

    @Test func clippedEventsKeepTheirShareOfTheWork() async throws {
        let (trace, _) = try await trace(.sequential)
        let event = try #require(trace.events.first { $0.work.operations > 0 })
        let middle = (event.start + event.end) / 2
        let half = try #require(event.clipped(to: 0..<middle))
        #expect(abs(half.work.operations / event.work.operations - 0.5) < 1e-6)
        #expect(event.clipped(to: event.end..<event.end + 1) == nil)
    }
}
