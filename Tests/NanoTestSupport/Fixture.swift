package import Foundation

/// The files that tests read: committed fixtures, and the default model.
package enum Fixture {
    /// The package's own folder.
    package static let packageFolder = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// The default model; `make model` fetches it.
    package static var defaultModelPath: String {
        ProcessInfo.processInfo.environment["NANOFLOW_MODEL"]
            ?? packageFolder.appendingPathComponent("Models/SmolLM2-135M-Instruct.Q4_1.gguf").path
    }

    /// A file of the engine tests' fixtures.
    package static func engine(_ name: String) -> URL {
        packageFolder.appendingPathComponent("Tests/NanoFlowTests/Fixtures/\(name)")
    }

    /// Reads a JSON fixture whose keys are snake_case.
    package static func json<Value: Decodable>(_ type: Value.Type, _ name: String) throws -> Value {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(type, from: Data(contentsOf: engine(name)))
    }
}
