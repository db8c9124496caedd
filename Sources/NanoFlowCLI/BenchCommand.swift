import ArgumentParser

/// `nanoflow bench`: measurements of the engine and of its parts.
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measures the engine against what the machine can do.",
        subcommands: [
            BenchOfflineCommand.self, BenchKernelsCommand.self, BenchAblationCommand.self,
            BenchOnlineCommand.self, BenchPlansCommand.self, BenchRoundsCommand.self,
        ])
}
