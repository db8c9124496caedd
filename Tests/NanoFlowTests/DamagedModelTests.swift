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
}
