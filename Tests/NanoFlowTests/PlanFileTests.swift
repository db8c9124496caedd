import Foundation
import NanoFlow
import NanoTestSupport
import Testing

/// Plan files: what is written is read again; what does not fit is refused with the reason.
@Suite struct PlanFileTests {
    private static let graph = OperationGraph.decoder(layerCount: 2)
    private static let fingerprint = PlanFingerprint(
        model: "a model", machine: "a CPU, 2 units", kernels: "avx2_fma")

    private static func file() -> PlanFile {
        PlanFile(.generated(graph), for: fingerprint)
    }

    private func refusal(_ data: Data) -> String? {
        do {
            _ = try PlanFile.table(data, for: Self.fingerprint, graph: Self.graph)
            return nil
        } catch {
            return error.description
        }
    }

    @Test func whatIsWrittenIsRead() throws {
        let table = try PlanFile.table(
            Self.file().encoded(), for: Self.fingerprint, graph: Self.graph)
        #expect(table == .generated(Self.graph))
    }

    @Test(arguments: [
        ("avx2_fma", "avx512_vnni", "made for the kernels \"avx512_vnni\"; this is \"avx2_fma\""),
        ("a CPU, 2", "a CPU, 8", "made for the machine \"a CPU, 8 units\""),
        ("a model", "another", "made for the model \"another\""),
        ("\"version\" : 1", "\"version\" : 2", "of version 2; this is version 1"),
        ("\"version\"", "\"versions\"", "\"version\" is missing at its top"),
        ("\"nano_batches\"", "\"nano\"", "\"nano_batches\" is missing at table.0.plan"),
        ("embedding.0", "embeding.0", "\"embeding.0\" names no nano-operation"),
        ("embedding.0", "embedding.1", "Entry 0 of its table cannot run."),
        (
            "\"share\" : 1", "\"share\" : \"1\"",
            "at table.0.plan.units.0.share is of the wrong type"
        ),
        ("min_decode_tokens", "min_decode_token", "\"min_decode_token\" is no bound of a shape"),
        ("{", "[", "is not JSON"),
    ])
    func whatDoesNotFitIsRefused(old: String, new: String, reason: String) throws {
        let text = try String(decoding: Self.file().encoded(), as: UTF8.self)
        #expect(text.contains(old))
        let changed = Data(text.replacing(old, with: new, maxReplacements: 1).utf8)
        let message = refusal(changed)
        #expect(message?.contains(reason) == true, "\(message ?? "none")")
    }

    /// Whatever happens to a file, it is refused or its plans can run.
    @Test func damagedFilesDoNoHarm() throws {
        let intact = try Self.file().encoded()
        var random = SeededGenerator(seed: 31)
        var refusedCount = 0
        for _ in 0..<1500 {
            var data = intact
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let index = Int.random(in: 0..<data.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: data[index] = UInt8.random(in: 0...255, using: &random)
                case 1: data.remove(at: index)
                default: data = data.prefix(index + 1)
                }
            }
            do {
                let table = try PlanFile.table(
                    data, for: Self.fingerprint, graph: Self.graph)
                #expect(table.entries.allSatisfy { $0.plan.fault(for: Self.graph) == nil })
            } catch {
                refusedCount += 1
            }
        }
        #expect(refusedCount > 1000)
    }

    @Test func anEngineGoesOnInSequenceWhenItsPlansAreRefused() async throws {
        let path = NSTemporaryDirectory() + "nanoflow-plan-\(UUID().uuidString).json"
        defer { try? FileManager.default.removeItem(atPath: path) }
        var configuration = EngineConfiguration(precision: .f32)
        configuration.plans = .file(path)
        let missing = try await tinyModel(configuration)
        #expect(missing.engine.plans.refusal?.description == "\(path): It cannot be read.")
        await missing.shutdown()

        try Self.file().write(to: path)
        let foreign = try await tinyModel(configuration)
        #expect(
            foreign.engine.plans.refusal?.description.contains("made for the model \"a model\"")
                == true)
        let plain = try await tinyModel()
        let sampling = SamplingParameters(temperature: 0, maxTokens: 8)
        #expect(
            try await foreign.generate(.tokens([1, 2, 3]), sampling: sampling)
                == plain.generate(.tokens([1, 2, 3]), sampling: sampling))
        let own = PlanFile(
            PlanTable(.overlapped(.decoder(layerCount: 2))), for: plain.engine.planFingerprint)
        try own.write(to: path)
        let planned = try await tinyModel(configuration)
        #expect(planned.engine.plans.refusal == nil)
        _ = try await planned.generate(.tokens(Array(1...80)), sampling: sampling)
        // A chunk of 80 tokens is cut at a block's end.
        #expect(planned.engine.counters.sums.cutSteps > 0)
        for llm in [foreign, plain, planned] { await llm.shutdown() }
    }
}
