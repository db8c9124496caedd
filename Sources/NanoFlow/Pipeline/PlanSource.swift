import Foundation

/// Where an engine's plans come from.
package enum PlanSource: Sendable, Hashable {
    /// Those tuned for this model on this machine where there are any, or else what usually does
    /// well there: generated ones, or none.
    case best
    /// Those tuned for this model on this machine.
    case tuned
    /// Generated from the model's operations.
    case generated
    /// None: steps run in sequence.
    case none
    case file(String)
}

/// The plans that an engine runs with.
package struct ChosenPlans: Sendable {
    /// nil: generated.
    package let table: PlanTable?
    /// Says where they are from.
    package let origin: String
    /// Why others are not used that were asked for, or that are there.
    package let refusal: PlanFile.Refusal?

    private init(_ table: PlanTable?, _ origin: String, _ refusal: PlanFile.Refusal? = nil) {
        (self.table, self.origin, self.refusal) = (table, origin, refusal)
    }

    /// Plans that were made just now.
    package init(made table: PlanTable) {
        self.init(table, "tuned just now, \(table.description)")
    }

    /// Reads what the source names; what is refused leaves steps in sequence.
    package init(
        _ source: PlanSource, for fingerprint: PlanFingerprint, graph: OperationGraph
    ) {
        switch source {
        case .none:
            self.init(PlanTable(), "none: steps run in sequence")
        case .generated:
            self.init(nil, "generated; nanoflow tune looks for the best ones")
        case .file(let path):
            self.init(path: path, fingerprint, graph)
        case .tuned:
            self.init(path: TuningFiles.path(.plans, for: fingerprint), fingerprint, graph)
        case .best:
            let path = TuningFiles.path(.plans, for: fingerprint)
            guard FileManager.default.fileExists(atPath: path) else {
                self.init(untuned: fingerprint, "nanoflow tune looks for the best ones")
                return
            }
            let tuned = ChosenPlans(path: path, fingerprint, graph)
            guard let refusal = tuned.refusal else {
                self = tuned
                return
            }
            self.init(untuned: fingerprint, "those that were tuned do not fit", refusal)
        }
    }

    private init(
        untuned fingerprint: PlanFingerprint, _ reason: String, _ refusal: PlanFile.Refusal? = nil
    ) {
        if fingerprint.favoursGeneratedPlans {
            self.init(nil, "generated; \(reason)", refusal)
        } else {
            self.init(PlanTable(), "none: steps run in sequence; \(reason)", refusal)
        }
    }

    private init(path: String, _ fingerprint: PlanFingerprint, _ graph: OperationGraph) {
        do {
            let table = try PlanFile.table(path: path, for: fingerprint, graph: graph)
            self.init(table, "\(path), \(table.description)")
        } catch {
            self.init(PlanTable(), "none: steps run in sequence", error)
        }
    }
}

/// Where the results of tuning lie: a folder of files for each model, machine and kernels.
package enum TuningFiles {
    package enum Kind: String, Sendable {
        case plans, profiles, reports
    }

    /// The file's path; nothing need be there.
    ///
    /// - Parameters:
    ///   - kind: What it holds.
    ///   - fingerprint: What it is made for.
    ///   - fileExtension: Of the file's name.
    ///   - environment: Names the folder of caches (XDG Base Directory Specification).
    /// - Returns: An absolute path.
    package static func path(
        _ kind: Kind, for fingerprint: PlanFingerprint, fileExtension: String = "json",
        environment: [String: String] = ProcessInfo.processInfo.environment
    ) -> String {
        let given = environment["XDG_CACHE_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil }
        let caches = given ?? (environment["HOME"] ?? NSHomeDirectory()) + "/.cache"
        return "\(caches)/nanoflow/\(kind.rawValue)/\(fingerprint.fileName).\(fileExtension)"
    }

    /// Makes the folder that a file is to lie in.
    ///
    /// - Throws: What the system reports.
    package static func makeFolder(for path: String) throws {
        try FileManager.default.createDirectory(
            at: URL(fileURLWithPath: path).deletingLastPathComponent(),
            withIntermediateDirectories: true)
    }
}

extension PlanFingerprint {
    /// The model's name as far as it goes into a file's name, and a hash of all: FNV-1a of Fowler,
    /// Noll and Vo.
    fileprivate var fileName: String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in "\(model)\n\(machine)\n\(kernels)".utf8 {
            hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3
        }
        let name = model.prefix { $0 != "," }.map { character in
            character.isASCII && (character.isLetter || character.isNumber) ? character : "-"
        }
        let digits = String(hash, radix: 16)
        return String(name.prefix(40)) + "-" + String(repeating: "0", count: 16 - digits.count)
            + digits
    }
}
