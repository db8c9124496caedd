package import Foundation

/// A command, its options and subcommands, as ArgumentParser's `_dumpHelp()` describes them.
package struct CommandDescription: Decodable, Sendable {
    package let name: String
    package let options: [CommandOption]
    package let subcommands: [CommandDescription]

    private enum CodingKeys: String, CodingKey {
        case name = "commandName"
        case options = "arguments"
        case subcommands
    }

    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        name = try values.decode(String.self, forKey: .name)
        subcommands =
            try values.decodeIfPresent([CommandDescription].self, forKey: .subcommands) ?? []
        options = try (values.decodeIfPresent([Argument].self, forKey: .options) ?? [])
            .compactMap(\.option)
    }

    /// - Throws: `DecodingError` where the text is no description of a command.
    package init(dump: Data) throws {
        struct Tool: Decodable {
            let command: CommandDescription
        }
        self = try JSONDecoder().decode(Tool.self, from: dump).command
    }

    /// The options of this command and of all below.
    var allOptions: [CommandOption] { options + subcommands.flatMap(\.allOptions) }
}

/// An argument in ArgumentParser's description.
private struct Argument: Decodable {
    struct Name: Decodable {
        let kind: String
        let name: String
    }

    let kind: String
    let isOptional: Bool
    let isRepeating: Bool
    let shouldDisplay: Bool
    let preferredName: Name?
    let defaultValue: String?
    let abstract: String?

    /// Positional arguments, --help and --version are given in a command line alone.
    var option: CommandOption? {
        guard let preferredName, preferredName.kind == "long", kind != "positional",
            !["help", "version"].contains(preferredName.name)
        else { return nil }
        return CommandOption(
            key: preferredName.name,
            kind: kind == "flag" ? .flag : isRepeating ? .list : .value,
            isRequired: !isOptional, isHidden: !shouldDisplay, defaultValue: defaultValue,
            help: abstract ?? "")
    }
}
