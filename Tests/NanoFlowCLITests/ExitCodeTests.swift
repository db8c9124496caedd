import Foundation
import Testing

@Suite struct ExitCodeTests {
    @Test func aModelThatCannotBeUsedIs3() throws {
        try TemporaryFolder.use { folder in
            let path = "\(folder)/damaged.gguf"
            try Data("GGUF and no more".utf8).write(to: URL(fileURLWithPath: path))
            for model in [path, "\(folder)/missing.gguf"] {
                let result = try BuiltCommand.run(["serve", "--model", model, "--port", "0"])
                #expect(result.status == 3)
                #expect(result.errors.contains(model))
            }
        }
    }

    @Test func tooLittleMemoryIs4() throws {
        let model = packageFolder.appendingPathComponent(
            "Tests/NanoFlowTests/Fixtures/tiny-llama.gguf")
        let result = try BuiltCommand.run(
            ["serve", "--model", model.path, "--port", "0", "--kv-cache-memory", "1K"])
        #expect(result.status == 4)
    }

    @Test func aWrongCommandLineIs64() throws {
        let result = try BuiltCommand.run(["serve", "--model", "x", "--no-such-option"])
        #expect(result.status == 64)
        #expect(result.errors.contains("--no-such-option"))
    }
}
