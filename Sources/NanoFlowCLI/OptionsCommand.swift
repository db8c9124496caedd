import ArgumentParser
import Foundation
import NanoOptions

/// `nanoflow options`: the table of docs/configuration.md, which a test compares with it.
struct OptionsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "options",
        abstract: "Writes the options of `nanoflow serve` as a table in Markdown.",
        shouldDisplay: false)

    func run() throws {
        let serve = try CommandDescription(dump: Data(ServeCommand._dumpHelp().utf8))
        print(OptionTable.markdown(of: serve))
    }
}
