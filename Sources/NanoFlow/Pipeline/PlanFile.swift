package import Foundation
package import NanoDevice
package import NanoModel

/// What a plan was made for; times measured elsewhere say little here.
package struct PlanFingerprint: Codable, Sendable, Hashable {
    package var model: String
    package var machine: String
    package var kernels: String

    package init(model: String, machine: String, kernels: String) {
        (self.model, self.machine, self.kernels) = (model, machine, kernels)
    }
}

extension PlanFingerprint {
    /// Of a model on this machine.
    package init(_ model: ModelConfiguration, _ settings: EngineSettings, _ kernels: Kernels) {
        let cpu = MachineTopology(allowedCPUs: []).cpuModel ?? "unknown CPU"
        let units = settings.threadCount
        self.init(
            model: "\(model.name), \(model.layerCount) layers x \(model.hiddenSize) x "
                + "\(model.feedForwardSize), \(settings.formatText), "
                + "KV cache \(settings.kvPrecision.rawValue)",
            machine: "\(cpu), \(units) \(units == 1 ? "unit" : "units")", kernels: kernels.name)
    }

    /// Whether generated plans are worth running before any have been searched for.
    ///
    /// Not on Intel's CPUs: there a request on its way to memory holds one of the sixteen line
    /// buffers that the products of a core need themselves, and on the one that was measured
    /// overlapping lost more than it won (docs/LOG.md).
    var favoursGeneratedPlans: Bool { !machine.contains("Intel") }
}

/// A plan table on disk: JSON that a person can read, change and compare.
package struct PlanFile: Codable, Sendable, Hashable {
    package static let version = 1

    package var version = PlanFile.version
    package var fingerprint: PlanFingerprint
    package var table: [PlanTable.Entry]
    package var tokenBudget: PlanTable.TokenBudget?

    package init(_ table: PlanTable, for fingerprint: PlanFingerprint) {
        self.fingerprint = fingerprint
        self.table = table.entries
        tokenBudget = table.tokenBudget
    }

    package enum CodingKeys: String, CodingKey {
        case version, fingerprint, table
        case tokenBudget = "token_budget"
    }

    /// Why a file cannot be used.
    package struct Refusal: Error, CustomStringConvertible, Sendable, Hashable {
        package let description: String
    }

    /// Reads a file and checks that its plans can run.
    ///
    /// - Parameters:
    ///   - path: The file.
    ///   - fingerprint: Of this model on this machine.
    ///   - graph: The model's operations.
    /// - Returns: Its plans.
    /// - Throws: ``Refusal`` for a file that is damaged, of another version, or made for another
    ///   model, machine or kernels.
    package static func table(
        path: String, for fingerprint: PlanFingerprint, graph: OperationGraph
    ) throws(Refusal) -> PlanTable {
        do {
            let data = try Data(contentsOf: URL(fileURLWithPath: path))
            return try table(data, for: fingerprint, graph: graph)
        } catch let refusal as Refusal {
            throw Refusal(description: "\(path): \(refusal)")
        } catch {
            throw Refusal(description: "\(path): It cannot be read.")
        }
    }

    /// The same for the contents of a file.
    package static func table(
        _ data: Data, for fingerprint: PlanFingerprint, graph: OperationGraph
    ) throws(Refusal) -> PlanTable {
        let file: PlanFile
        do {
            let header = try JSONDecoder().decode(Header.self, from: data)
            guard header.version == version else {
                throw Refusal(
                    description: "It is of version \(header.version); this is version \(version).")
            }
            file = try JSONDecoder().decode(PlanFile.self, from: data)
        } catch let refusal as Refusal {
            throw refusal
        } catch {
            throw Refusal(description: "It is no plan file: \(Self.explain(error)).")
        }
        for (name, theirs, ours) in [
            ("model", file.fingerprint.model, fingerprint.model),
            ("machine", file.fingerprint.machine, fingerprint.machine),
            ("kernels", file.fingerprint.kernels, fingerprint.kernels),
        ] where theirs != ours {
            throw Refusal(
                description: "It was made for the \(name) \"\(theirs)\"; this is \"\(ours)\".")
        }
        for (index, entry) in file.table.enumerated() {
            guard let fault = entry.plan.fault(for: graph) else { continue }
            throw Refusal(description: "Entry \(index) of its table cannot run. \(fault)")
        }
        if let budget = file.tokenBudget,
            !(1...65_536).contains(budget.limit) || !(1...budget.limit).contains(budget.tokens)
        {
            throw Refusal(
                description: "Its token_budget must have tokens of 1 to its limit, and that at "
                    + "most 65536. Given: \(budget.tokens) of \(budget.limit).")
        }
        return PlanTable(entries: file.table, tokenBudget: file.tokenBudget)
    }

    /// Writes the file.
    ///
    /// - Throws: What the system reports.
    package func write(to path: String) throws {
        try encoded().write(to: URL(fileURLWithPath: path), options: .atomic)
    }

    /// The file's contents.
    package func encoded() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(self) + Data("\n".utf8)
    }

    private struct Header: Decodable { let version: Int }

    private static func explain(_ error: any Error) -> String {
        guard let error = error as? DecodingError else { return "it is not JSON" }
        func place(_ context: DecodingError.Context) -> String {
            let path = context.codingPath.map { $0.intValue.map(String.init) ?? $0.stringValue }
            return path.isEmpty ? "at its top" : "at \(path.joined(separator: "."))"
        }
        return switch error {
        case .keyNotFound(let key, let context):
            "\"\(key.stringValue)\" is missing \(place(context))"
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            "the value \(place(context)) is of the wrong type"
        case .dataCorrupted(let context):
            context.codingPath.isEmpty
                ? "it is not JSON" : "\(context.debugDescription) \(place(context))"
        @unknown default: "it cannot be decoded"
        }
    }
}
