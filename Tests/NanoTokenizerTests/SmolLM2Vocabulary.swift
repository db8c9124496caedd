import Foundation
import NanoModel
import NanoTokenizer

/// The vocabulary of the default model, which `make model` has fetched.
func smolLM2Vocabulary() throws -> TokenizerVocabulary {
    let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    let path =
        ProcessInfo.processInfo.environment["NANOFLOW_MODEL"]
        ?? root.appendingPathComponent("Models/SmolLM2-135M-Instruct.Q4_1.gguf").path
    return try TokenizerVocabulary(GGUFFile(path: path))
}
