import ArgumentParser
import Foundation
import NanoOptions
import NanoServer

/// The `nanoflow` command.
@main
struct NanoFlowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nanoflow",
        abstract: "Serves large language models on CPUs.",
        discussion: """
            Every option of a command may also stand in the environment, --port as NANOFLOW_PORT.

            Exit codes: 0 done; 1 failed; 3 the model's file cannot be used; 4 the memory does not \
            suffice; 64 the command line, the environment or the configuration file is wrong.
            """,
        version: NanoServer.version,
        subcommands: [
            ServeCommand.self, GenerateCommand.self, PerplexityCommand.self, BenchCommand.self,
            DoctorCommand.self, PlanCommand.self, TraceCommand.self, SimulateCommand.self,
            TuneCommand.self, OptionsCommand.self,
        ])

    static func main() async {
        do {
            try await run(settings())
        } catch let error as ConfigurationError {
            printError("nanoflow: \(error)")
            exit(withError: ExitCode.validationFailure)
        } catch {
            exit(withError: error)
        }
    }

    private static func settings() throws -> CommandLineSettings {
        try CommandLineSettings(
            Array(CommandLine.arguments.dropFirst()),
            environment: ProcessInfo.processInfo.environment,
            tool: CommandDescription(dump: Data(_dumpHelp().utf8)),
            readFile: ConfigurationFile.init(path:))
    }

    private static func run(_ settings: CommandLineSettings) async throws {
        for remark in settings.remarks { printError("nanoflow: \(remark)") }
        do {
            var command = try await asyncParseAsRoot(settings.arguments)
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch {
            let names = settings.names(mentionedIn: message(for: error)).joined(separator: ", ")
            guard exitCode(for: error) == .validationFailure, !names.isEmpty else { throw error }
            // Who has set a variable or a key looks for its name, not for the flag's.
            let text = fullMessage(for: error)
            printError(text.replacing("Error: ", with: "Error: \(names): ", maxReplacements: 1))
            throw ExitCode.validationFailure
        }
    }
}
