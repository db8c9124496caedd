import Foundation

/// The command that was built together with the tests.
enum BuiltCommand {
    struct Result {
        let status: Int32
        let output: String
        let errors: String
    }

    /// Runs `nanoflow`, which lies beside the tests, with these variables alone.
    static func run(_ arguments: [String], environment: [String: String] = [:]) throws -> Result {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
            .deletingLastPathComponent().appendingPathComponent("nanoflow")
        process.arguments = arguments
        process.environment = environment
        // What is written into a file needs no reader meanwhile, as two pipes would.
        return try TemporaryFolder.use { folder in
            let paths = ["output", "errors"].map { URL(fileURLWithPath: "\(folder)/\($0)") }
            for path in paths { try Data().write(to: path) }
            process.standardOutput = try FileHandle(forWritingTo: paths[0])
            process.standardError = try FileHandle(forWritingTo: paths[1])
            try process.run()
            process.waitUntilExit()
            return Result(
                status: process.terminationStatus,
                output: try String(contentsOf: paths[0], encoding: .utf8),
                errors: try String(contentsOf: paths[1], encoding: .utf8))
        }
    }
}

/// A folder that is there as long as it is used.
enum TemporaryFolder {
    static func use<Result>(_ body: (String) throws -> Result) throws -> Result {
        let folder = FileManager.default.temporaryDirectory
            .appendingPathComponent("nanoflow-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(at: folder) }
        return try body(folder.path)
    }
}

/// The package's own folder.
let packageFolder = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

/// Random numbers that are the same in every run: SplitMix64.
struct Generator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
