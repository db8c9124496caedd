import ArgumentParser
import Foundation
import NanoDevice
import NanoFlow

/// What every JSON file of the command says beside its figures.
struct RunDescription: Encodable {
    let schemaVersion = 1
    let machine: MachineDescription
    let kernels: String
    let model: String
    let precision: String
    let kvPrecision: String
    let threads: Int

    struct MachineDescription: Encodable {
        let cpus: Int
        let memoryBytes: Int
    }

    init(_ llm: LLM) {
        let engine = llm.engine
        machine = MachineDescription(
            cpus: engine.machine.allowedCPUs.count,
            memoryBytes: Int(ProcessInfo.processInfo.physicalMemory))
        kernels = engine.kernelName
        model = llm.modelName
        precision = engine.settings.precision.rawValue
        kvPrecision = engine.settings.kvPrecision.rawValue
        threads = engine.settings.threadCount
    }
}

/// Throws a usage error where a file cannot be written, before the work is done for nothing.
func checkWritable(_ path: String?, option: String = "--json") throws {
    guard let path, path != "-" else { return }
    let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
    guard FileManager.default.isWritableFile(atPath: folder) else {
        throw ValidationError("\(option): the folder \(folder) cannot be written to.")
    }
}

/// Writes a value as JSON with snake_case keys; "-" is standard output.
func writeJSON(_ value: some Encodable, to path: String) throws {
    let encoder = JSONEncoder()
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let data = try encoder.encode(value) + Data("\n".utf8)
    if path == "-" {
        FileHandle.standardOutput.write(data)
    } else {
        try data.write(to: URL(fileURLWithPath: path))
    }
}

/// The text as a JSON string, in its quotes.
func quotedJSON(_ text: String) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .withoutEscapingSlashes
    guard let data = try? encoder.encode(text) else { return "\"\"" }
    return String(decoding: data, as: UTF8.self)
}
