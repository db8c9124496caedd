import Foundation
import NanoDevice
import NanoFlow
import NanoTestSupport
import Testing

/// A damaged model file is refused with a sentence, at whatever stage the damage shows.
@Suite struct DamagedModelTests {
    @Test(arguments: ["tiny-llama", "tiny-qwen2-tied"])
    func mutantsOfAModelAreOpenedOrRefused(name: String) throws {
        let whole = try [UInt8](Data(contentsOf: Fixture.engine("\(name).gguf")))
        let path = FileManager.default.temporaryDirectory
            .appendingPathComponent("nanoflow-\(UUID().uuidString).gguf")
        defer { try? FileManager.default.removeItem(at: path) }
        var refusals = 0
        for seed in 0..<400 {
            var random = SeededGenerator(seed: UInt64(seed))
            var bytes = whole
            // The metadata and the table of tensors stand at the file's beginning.
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                bytes[Int.random(in: 0..<12_000, using: &random)] = .random(
                    in: 0...255, using: &random)
            }
            if seed.isMultiple(of: 10) {
                bytes.removeLast(Int.random(in: 1..<bytes.count, using: &random))
            }
            try Data(bytes).write(to: path)
            do {
                let source = try ModelSource(path.path)
                _ = try EngineSettings(
                    EngineConfiguration(precision: .f32), source: source, machine: .current())
            } catch {
                refusals += 1
                #expect(!error.description.isEmpty, "seed \(seed)")
            }
        }
        #expect(refusals > 100)
    }

    /// Each figure of the metadata alone, out of its range or at odds with the others.
    @Test(arguments: [
        ("block_count", [0, 1025, 3, .max]), ("context_length", [0, 1, 1 << 25, .max]),
        ("embedding_length", [0, 1, 63, 128, .max]),
        ("feed_forward_length", [0, 175, 1 << 21, .max]),
        ("attention.head_count", [0, 3, 5, 4097, .max]),
        ("attention.head_count_kv", [0, 3, 5, .max]),
        ("rope.dimension_count", [0, 1, 15, 17, .max]),
        ("rope.freq_base", [0, Float(-1).bitPattern, Float.nan.bitPattern, .max]),
        ("attention.layer_norm_rms_epsilon", [Float(-1).bitPattern, Float.infinity.bitPattern]),
    ])
    func aFigureThatCannotBeIsRefused(field: String, values: [UInt32]) throws {
        let whole = try [UInt8](Data(contentsOf: Fixture.engine("tiny-llama.gguf")))
        let key = try #require(whole.firstRange(of: "llama.\(field)".utf8))
        let path = FileManager.default.temporaryDirectory
            .appendingPathComponent("nanoflow-\(UUID().uuidString).gguf")
        defer { try? FileManager.default.removeItem(at: path) }
        for value in values {
            var bytes = whole
            // After the key stand the value's type and the value, of four bytes each.
            let place = key.upperBound + 4
            withUnsafeBytes(of: value.littleEndian) {
                bytes.replaceSubrange(place..<place + 4, with: $0)
            }
            try Data(bytes).write(to: path)
            let error = #expect(throws: NanoFlowError.self, "\(value)") {
                let source = try ModelSource(path.path)
                _ = try EngineSettings(
                    EngineConfiguration(precision: .f32), source: source, machine: .current())
            }
            #expect(error?.code == .modelLoading, "\(value): \(error?.description ?? "taken")")
        }
    }
}
