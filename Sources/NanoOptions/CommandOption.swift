/// An option of a command, under the names that it has in each place where it can be given.
package struct CommandOption: Sendable, Hashable {
    package enum Kind: Sendable, Hashable {
        /// Takes one value.
        case value
        /// Takes a value each time that it is given.
        case list
        /// Is there, or is not.
        case flag
    }

    /// What variables of the environment begin with.
    package static let variablePrefix = "NANOFLOW_"
    /// The option that names the configuration file.
    package static let configurationKey = "config"

    /// The key in a configuration file: the flag without its dashes.
    package let key: String
    package let kind: Kind
    package let isRequired: Bool
    package let isHidden: Bool
    package let defaultValue: String?
    package let help: String

    package var flag: String { "--\(key)" }

    package var variable: String {
        Self.variablePrefix + key.uppercased().replacing("-", with: "_")
    }

    /// Whether a command line, up to its "--", gives the option.
    func isGiven(in arguments: ArraySlice<String>) -> Bool {
        arguments.contains { $0 == flag || $0.hasPrefix(flag + "=") }
    }

    /// The value that the command line gives the option last.
    func lastValue(in arguments: ArraySlice<String>) -> String? {
        guard let index = arguments.lastIndex(where: { $0 == flag || $0.hasPrefix(flag + "=") })
        else { return nil }
        if arguments[index] != flag { return String(arguments[index].dropFirst(flag.count + 1)) }
        return arguments[index...].dropFirst().first.flatMap { $0.hasPrefix("--") ? nil : $0 }
    }

    /// What stands for the values in a command line.
    func arguments(_ values: [String]) -> [String] {
        switch kind {
        case .flag: values == ["true"] ? [flag] : []
        // A value that begins with a dash would be taken for an option if it stood alone.
        case .value, .list: values.map { "\(flag)=\($0)" }
        }
    }

    /// Why the values cannot be the option's; nil if they can, as far as this can be told without
    /// its type.
    func refusal(of values: [String]) -> (limit: String, given: String)? {
        if values.isEmpty { return ("at least one value", "none") }
        if values.contains("") { return ("a value that is not empty", "an empty one") }
        switch kind {
        case .value where values.count > 1: return ("one value", "\(values.count)")
        case .flag where values != ["true"] && values != ["false"]:
            return ("true or false", values.joined(separator: ", "))
        default: return nil
        }
    }
}
