import Foundation
import NanoOptions
import Testing

/// The command itself, its documentation, and what is there to deploy it.
@Suite struct DocumentedOptionsTests {
    @Test func theDocumentedTableIsThatOfTheCode() throws {
        let text = try String(
            contentsOf: packageFolder.appendingPathComponent("docs/configuration.md"),
            encoding: .utf8)
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let start = try #require(lines.firstIndex { $0.hasPrefix("<!-- options") })
        let end = try #require(lines.firstIndex { $0.hasPrefix("<!-- end of options") })
        let table = lines[(start + 1)..<end].joined(separator: "\n") + "\n"
        #expect(
            try BuiltCommand.run(["options"]).output == table,
            "Scripts/update_option_table.sh writes the table anew.")
    }

    @Test func theExampleFileIsValid() throws {
        let path = packageFolder.appendingPathComponent("Deploy/nanoflow.yaml").path
        // 3: all is well but for the model, which is not there.
        let result = try BuiltCommand.run([
            "serve", "--config", path, "--model", "/nonexistent.gguf",
        ])
        #expect(result.status == 3, "\(result.errors)")
        #expect(!result.errors.contains("has no effect"))
    }

    @Test func aValueOfTheWrongTypeNamesItsVariable() throws {
        let result = try BuiltCommand.run(
            ["serve", "--model", "m"], environment: ["NANOFLOW_PORT": "abc"])
        #expect(result.status == 64)
        #expect(result.errors.contains("Error: NANOFLOW_PORT: The value 'abc' is invalid for"))
    }

    @Test func aValueOutOfBoundsNamesItsKeyAndLine() throws {
        try TemporaryFolder.use { folder in
            let path = "\(folder)/nanoflow.yaml"
            try Data("model: m\nport: 70000\n".utf8).write(to: URL(fileURLWithPath: path))
            let result = try BuiltCommand.run(["serve"], environment: ["NANOFLOW_CONFIG": path])
            #expect(result.status == 64)
            #expect(result.errors.contains("Error: port in \(path), line 2: --port must be"))
            #expect(result.errors.contains("settings from \(path): model, port;"))
        }
    }

    @Test func aFileThatIsNotThereEndsTheCommand() throws {
        let result = try BuiltCommand.run(["serve", "--config", "/nonexistent.yaml"])
        #expect(result.status == 64)
        #expect(
            result.errors
                == "nanoflow: /nonexistent.yaml: the file must be readable. Given: No such file or "
                + "directory.\n")
    }
}
