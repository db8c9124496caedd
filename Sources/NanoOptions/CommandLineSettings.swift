/// A command line, and what the environment and a file say of the options that it leaves open.
///
/// ArgumentParser then parses one command line and knows of no other source.
package struct CommandLineSettings: Sendable {
    /// The command line to parse: settings stand before what is given.
    package private(set) var arguments: [String]
    /// What the command line leaves open, in the order of the command's options.
    package private(set) var settings: [Setting] = []
    /// Sentences on where settings come from, and on what has no effect.
    package private(set) var remarks: [String] = []

    /// - Parameters:
    ///   - arguments: What the user gives, without the program's name.
    ///   - environment: The process's variables.
    ///   - tool: The command at the root.
    ///   - readFile: Reads the configuration file.
    /// - Throws: ``ConfigurationError`` for what environment or file say and no option takes.
    package init(
        _ arguments: [String], environment: [String: String], tool: CommandDescription,
        readFile: (String) throws(ConfigurationError) -> ConfigurationFile
    ) throws(ConfigurationError) {
        self.arguments = arguments
        let (command, depth) = Self.command(arguments, tool)
        let given = arguments[depth...].prefix { $0 != "--" }
        guard let command, !given.contains(where: Self.helpFlags.contains) else { return }

        let variables = try Setting.all(in: environment, of: command)
        let path = Self.path(given, variables, command)
        let file = try path.map(readFile)
        let entries = try file.map { file throws(ConfigurationError) in
            try Setting.all(in: file, of: command, tool)
        }
        settings = command.options.compactMap { option in
            option.isGiven(in: given) ? nil : variables[option.key] ?? entries?[option.key]
        }
        self.arguments.insert(
            contentsOf: settings.flatMap { $0.option.arguments($0.values) }, at: depth)
        remarks = unknownVariables(environment, tool) + passedOver(file, command) + origins(path)
    }

    /// The names of the settings whose options a message names, for the one who has set them.
    package func names(mentionedIn message: String) -> [String] {
        let words = Set(message.split { !$0.isLetter && !$0.isNumber && $0 != "-" })
        return settings.filter { words.contains($0.option.flag[...]) }.map(\.name)
    }

    // MARK: - The command line

    private static let helpFlags: Set = [
        "-h", "--help", "--help-hidden", "--version", "--experimental-dump-help",
    ]

    /// The command that a command line calls, and how many words name it; none without options.
    private static func command(
        _ arguments: [String], _ tool: CommandDescription
    ) -> (CommandDescription?, depth: Int) {
        var command = tool
        var depth = 0
        for word in arguments {
            guard let next = command.subcommands.first(where: { $0.name == word }) else { break }
            command = next
            depth += 1
        }
        return (command.subcommands.isEmpty ? command : nil, depth)
    }

    /// The configuration file's path, from the command line or the environment.
    private static func path(
        _ given: ArraySlice<String>, _ variables: [String: Setting], _ command: CommandDescription
    ) -> String? {
        let key = CommandOption.configurationKey
        guard let option = command.options.first(where: { $0.key == key }) else { return nil }
        return option.lastValue(in: given) ?? variables[key]?.values.first
    }

    // MARK: - Remarks

    private func unknownVariables(
        _ environment: [String: String], _ tool: CommandDescription
    ) -> [String] {
        let known = Set(tool.allOptions.map(\.variable))
        return environment.keys.sorted().compactMap { name in
            guard name.hasPrefix(CommandOption.variablePrefix), !known.contains(name) else {
                return nil
            }
            return "the environment variable \(name) belongs to no option and has no effect."
        }
    }

    private func passedOver(
        _ file: ConfigurationFile?, _ command: CommandDescription
    ) -> [String] {
        guard let file else { return [] }
        let own = Set(command.options.map(\.key))
        return file.entries.filter { !own.contains($0.key) }.map {
            "\(file.path), line \($0.line): \($0.key) is no option of `\(command.name)` and has no effect."
        }
    }

    private func origins(_ path: String?) -> [String] {
        let fromFile = settings.filter { $0.source != .environment }.map(\.option.key)
        let variables = settings.filter { $0.source == .environment }.map(\.option.variable)
        var parts: [String] = []
        if let path, !fromFile.isEmpty {
            parts.append("from \(path): \(fromFile.joined(separator: ", "))")
        }
        if !variables.isEmpty {
            parts.append("from the environment: \(variables.joined(separator: ", "))")
        }
        return parts.isEmpty ? [] : ["settings " + parts.joined(separator: "; ") + "."]
    }
}
