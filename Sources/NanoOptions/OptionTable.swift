/// The options of a command as a table for the documentation.
package enum OptionTable {
    /// A table in Markdown with a line for each option that the command's help shows.
    package static func markdown(of command: CommandDescription) -> String {
        let rows = command.options.filter { !$0.isHidden }.map { option in
            let (meaning, standard) = parts(of: option)
            // A file cannot name another one.
            let key = option.key == CommandOption.configurationKey ? "" : "`\(option.key)`"
            return row(["`\(option.flag)`", "`\(option.variable)`", key, standard, meaning])
        }
        let head = ["flag", "environment", "file key", "default", "meaning"]
        return ([row(head), "|---|---|---|---|---|"] + rows).joined(separator: "\n")
    }

    /// The meaning and the default.
    private static func parts(of option: CommandOption) -> (meaning: String, standard: String) {
        if let parts = statedDefault(option.help) { return parts }
        if let value = option.defaultValue { return (option.help, "`\(value)`") }
        if option.kind == .flag { return (option.help, "`false`") }
        return (option.help, option.isRequired ? "none: needed" : "")
    }

    /// Takes "(default: ...)" out of a text, which states so what is no value.
    private static func statedDefault(_ help: String) -> (meaning: String, standard: String)? {
        let halves = help.split(separator: " (default: ", maxSplits: 1)
        guard halves.count == 2, let end = halves[1].firstIndex(where: { "()".contains($0) }),
            halves[1][end] == ")"
        else { return nil }
        return (String(halves[0] + halves[1][end...].dropFirst()), String(halves[1][..<end]))
    }

    private static func row(_ cells: [String]) -> String {
        "| " + cells.map { $0.replacing("|", with: "\\|") }.joined(separator: " | ") + " |"
    }
}
