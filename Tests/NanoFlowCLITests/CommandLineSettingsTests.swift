import Foundation
import NanoOptions
import Testing

@Suite struct CommandLineSettingsTests {
    private static func settings(
        _ arguments: String, _ environment: [String: String] = [:], file: String = ""
    ) throws -> CommandLineSettings {
        try CommandLineSettings(
            arguments.split(separator: " ").map(String.init), environment: environment,
            tool: tool
        ) { path throws(ConfigurationError) in
            try ConfigurationFile(path: path, bytes: Array(file.utf8))
        }
    }

    /// `serve` with options of each kind, and `bench offline`, as ArgumentParser describes them.
    private static var tool: CommandDescription {
        get throws {
            let serve = command(
                "serve",
                options: [
                    option("config"), option("port"), option("host"), option("help"),
                    option("auto-tune", kind: "flag"), option("api-key", isRepeating: true),
                ])
            let offline = command("offline", options: [option("mode")])
            let bench = command("bench", subcommands: [offline])
            let tool = command("nanoflow", subcommands: [serve, bench])
            return try CommandDescription(dump: Data(#"{"command": \#(tool)}"#.utf8))
        }
    }

    private static func option(
        _ name: String, kind: String = "option", isRepeating: Bool = false
    ) -> String {
        """
        {"kind": "\(kind)", "isOptional": true, "isRepeating": \(isRepeating), "shouldDisplay": true,
         "preferredName": {"kind": "long", "name": "\(name)"}}
        """
    }

    private static func command(
        _ name: String, options: [String] = [], subcommands: [String] = []
    ) -> String {
        """
        {"commandName": "\(name)", "arguments": [\(options.joined(separator: ","))],
         "subcommands": [\(subcommands.joined(separator: ","))]}
        """
    }

    @Test func theCommandLineGoesBeforeTheEnvironmentAndThatBeforeTheFile() throws {
        let file = "port: 1\nhost: file\nauto-tune: true"
        let environment = ["NANOFLOW_PORT": "2", "NANOFLOW_CONFIG": "f.yaml", "PORT": "4"]
        #expect(
            try Self.settings("serve", environment, file: file).arguments
                == ["serve", "--config=f.yaml", "--port=2", "--host=file", "--auto-tune"])
        #expect(
            try Self.settings("serve --port 3 --host=x", environment, file: file).arguments
                == ["serve", "--config=f.yaml", "--auto-tune", "--port", "3", "--host=x"])
    }

    @Test(arguments: [
        ("serve --config f.yaml", "f.yaml"), ("serve --config=g.yaml", "g.yaml"),
        ("serve --config a --config b", "b"), ("serve", "e"), ("serve -- --config a", "e"),
    ])
    func theFileIsNamedByTheCommandLineOrElseByTheEnvironment(_ line: String, _ path: String) throws
    {
        var read: [String] = []
        _ = try CommandLineSettings(
            line.split(separator: " ").map(String.init), environment: ["NANOFLOW_CONFIG": "e"],
            tool: Self.tool
        ) { path throws(ConfigurationError) in
            read.append(path)
            return try ConfigurationFile(path: path, bytes: [])
        }
        #expect(read == [path])
    }

    @Test func flagsAreTrueOrFalse() throws {
        let on = ["NANOFLOW_AUTO_TUNE": "true"]
        let off = ["NANOFLOW_AUTO_TUNE": "false", "NANOFLOW_CONFIG": "f.yaml"]
        #expect(try Self.settings("serve", on).arguments == ["serve", "--auto-tune"])
        #expect(
            try Self.settings("serve", off, file: "auto-tune: true").arguments
                == ["serve", "--config=f.yaml"])
        #expect { try Self.settings("serve", ["NANOFLOW_AUTO_TUNE": "1"]) } throws: {
            "\($0)" == "the environment: NANOFLOW_AUTO_TUNE must be true or false. Given: 1."
        }
    }

    @Test func listsHaveCommasInTheEnvironmentAndItemsInTheFile() throws {
        let variable = ["NANOFLOW_API_KEY": "a, b,c\n"]
        #expect(
            try Self.settings("serve", variable).arguments
                == ["serve", "--api-key=a", "--api-key=b", "--api-key=c"])
        #expect(
            try Self.settings("serve --config f", file: "api-key: [a, 'b,c']").arguments
                == ["serve", "--api-key=a", "--api-key=b,c", "--config", "f"])
        #expect(
            try Self.settings("serve --api-key z", variable).arguments
                == ["serve", "--api-key", "z"])
    }

    @Test func valuesMayLookLikeOptions() throws {
        #expect(
            try Self.settings("serve --config f", ["NANOFLOW_HOST": "a b"], file: "port: --host=1")
                .arguments == ["serve", "--port=--host=1", "--host=a b", "--config", "f"])
    }

    @Test(arguments: [
        (
            ["NANOFLOW_PORT": ""], "",
            "the environment: NANOFLOW_PORT must be a value that is not empty. Given: an empty one."
        ),
        (
            ["NANOFLOW_API_KEY": "a,,b"], "",
            "the environment: NANOFLOW_API_KEY must be a value that is not empty. Given: an empty one."
        ),
        (
            [:], "port: ''",
            "f, line 1: port must be a value that is not empty. Given: an empty one."
        ),
        ([:], "port: [1, 2]", "f, line 1: port must be one value. Given: 2."),
        ([:], "api-key: []", "f, line 1: api-key must be at least one value. Given: none."),
        ([:], "auto-tune: yes", "f, line 1: auto-tune must be true or false. Given: yes."),
        (
            [:], "#\nprot: 1",
            "f, line 2: the key must be an option's name without its dashes. Given: prot."
        ),
        (
            [:], "config: g",
            "f, line 1: config must be in the command line or the environment. Given: in a file."
        ),
        (
            [:], "help: true",
            "f, line 1: the key must be an option's name without its dashes. Given: help."
        ),
    ])
    func whatNoOptionTakesIsRefusedByName(
        _ environment: [String: String], _ file: String, _ message: String
    ) {
        #expect { try Self.settings("serve --config f", environment, file: file) } throws: {
            "\($0)" == message
        }
    }

    @Test func otherCommandsOptionsHaveNoEffect() throws {
        let settings = try Self.settings(
            "serve --config f", ["NANOFLOW_MODE": "x"], file: "mode: y\nport: 1")
        #expect(settings.arguments == ["serve", "--port=1", "--config", "f"])
        #expect(
            settings.remarks == [
                "f, line 1: mode is no option of `serve` and has no effect.",
                "settings from f: port.",
            ])
        #expect(
            try Self.settings("bench offline --x", ["NANOFLOW_MODE": "x"]).arguments
                == ["bench", "offline", "--mode=x", "--x"])
    }

    @Test func anUnknownVariableIsRemarkedOn() throws {
        let settings = try Self.settings("serve", ["NANOFLOW_PROT": "1", "NANOFLOW_HOST": "h"])
        #expect(
            settings.remarks == [
                "the environment variable NANOFLOW_PROT belongs to no option and has no effect.",
                "settings from the environment: NANOFLOW_HOST.",
            ])
    }

    @Test(arguments: [
        "", "--version", "serve --help", "serve -h", "help serve", "bench", "nonsense",
    ])
    func whatRunsNothingIsLeftAsItIs(_ line: String) throws {
        let settings = try Self.settings(line, ["NANOFLOW_PORT": "", "NANOFLOW_PROT": "1"])
        #expect(settings.arguments == line.split(separator: " ").map(String.init))
        #expect(settings.remarks.isEmpty)
    }

    @Test func aMessageIsTracedToWhatWasSet() throws {
        let settings = try Self.settings(
            "serve --config f", ["NANOFLOW_PORT": "x", "NANOFLOW_API_KEY": "k"],
            file: "#\nhost: h")
        #expect(
            settings.names(mentionedIn: "The value 'x' is invalid for '--port <port>'")
                == ["NANOFLOW_PORT"])
        #expect(settings.names(mentionedIn: "--host: refused.") == ["host in f, line 2"])
        #expect(settings.names(mentionedIn: "--ports, --api-key-file and --config").isEmpty)
    }
}
