import ArgumentParser
import NanoServer

/// The `nanoflow` command.
@main
struct NanoFlowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nanoflow",
        abstract: "Serves large language models on CPUs.",
        discussion: """
            Exit codes: 0 done; 1 failed; 3 the model's file cannot be used; 4 the memory does not \
            suffice; 64 the command line is wrong.
            """,
        version: NanoServer.version,
        subcommands: [
            ServeCommand.self, GenerateCommand.self, PerplexityCommand.self, BenchCommand.self,
            DoctorCommand.self, PlanCommand.self, TraceCommand.self, SimulateCommand.self,
            TuneCommand.self,
        ])
}
