import Foundation

/// An option's values from the environment or a file.
package struct Setting: Sendable, Hashable {
    package enum Source: Sendable, Hashable {
        case environment
        case file(path: String, line: Int)
    }

    package let option: CommandOption
    package let values: [String]
    package let source: Source

    /// "NANOFLOW_PORT", or "port in nanoflow.yaml, line 3".
    package var name: String {
        switch source {
        case .environment: option.variable
        case .file(let path, let line): "\(option.key) in \(path), line \(line)"
        }
    }

    /// - Throws: ``ConfigurationError`` where an option of this kind cannot have these values.
    private init(
        _ option: CommandOption, _ values: [String], _ source: Source
    ) throws(ConfigurationError) {
        self.option = option
        self.values = values
        self.source = source
        guard let refusal = option.refusal(of: values) else { return }
        let (place, field) =
            switch source {
            case .environment: ("the environment", option.variable)
            case .file(let path, let line): ("\(path), line \(line)", option.key)
            }
        throw ConfigurationError(
            place: place, field: field, limit: refusal.limit, given: refusal.given)
    }

    /// The settings of a command's options in the environment, by key.
    static func all(
        in environment: [String: String], of command: CommandDescription
    ) throws(ConfigurationError) -> [String: Setting] {
        var settings: [String: Setting] = [:]
        for option in command.options {
            guard let text = environment[option.variable] else { continue }
            let values = option.kind == .list ? items(of: text) : [text]
            settings[option.key] = try Setting(option, values, .environment)
        }
        return settings
    }

    /// The items between commas.
    private static func items(of text: String) -> [String] {
        text.split(separator: ",", omittingEmptySubsequences: false).map {
            $0.trimmingCharacters(in: .whitespacesAndNewlines)
        }
    }

    /// The settings of a command's options in a file, by key.
    ///
    /// One file may serve several commands, so the options of others are passed over.
    static func all(
        in file: ConfigurationFile, of command: CommandDescription, _ tool: CommandDescription
    ) throws(ConfigurationError) -> [String: Setting] {
        let known = Set(tool.allOptions.map(\.key))
        var settings: [String: Setting] = [:]
        for entry in file.entries {
            let place = "\(file.path), line \(entry.line)"
            guard entry.key != CommandOption.configurationKey else {
                throw ConfigurationError(
                    place: place, field: entry.key,
                    limit: "in the command line or the environment", given: "in a file")
            }
            guard known.contains(entry.key) else {
                throw ConfigurationError(
                    place: place, field: "the key", limit: "an option's name without its dashes",
                    given: entry.key)
            }
            guard let option = command.options.first(where: { $0.key == entry.key }) else {
                continue
            }
            settings[entry.key] = try Setting(
                option, entry.values, .file(path: file.path, line: entry.line))
        }
        return settings
    }
}
