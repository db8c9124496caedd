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
    /// Matrices by the inputs that share a scale, "0" for all; empty where nothing is int8.
    let groupSizes: [String: Int]
    let kvPrecision: String
    let threads: Int
    /// Where the plans of --mode auto come from.
    let plans: String

    struct MachineDescription: Encodable {
        let cpus: Int
        let memoryBytes: Int
    }

    /// "int8 (groups of 64: 31 matrices, 192: 90)"; the precision alone where there are no groups.
    var precisionText: String {
        let groups = groupSizes.sorted { (Int($0.key) ?? 0) < (Int($1.key) ?? 0) }.map {
            "\($0.key == "0" ? "one scale an output" : "groups of \($0.key)"): \($0.value)"
        }
        return groups.isEmpty
            ? precision : "\(precision) (matrices in \(groups.joined(separator: ", ")))"
    }

    init(_ llm: LLM) {
        let engine = llm.engine
        machine = MachineDescription(
            cpus: engine.machine.allowedCPUs.count,
            memoryBytes: Int(ProcessInfo.processInfo.physicalMemory))
        kernels = engine.kernelName
        model = llm.modelName
        precision = engine.settings.precision.rawValue
        groupSizes = engine.formatCounts.reduce(into: [:]) { counts, entry in
            guard case .int8(let size) = entry.key else { return }
            counts[String(size > 1 << 20 ? 0 : size)] = entry.value
        }
        kvPrecision = engine.settings.kvPrecision.rawValue
        threads = engine.settings.threadCount
        plans = engine.plans.origin
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
