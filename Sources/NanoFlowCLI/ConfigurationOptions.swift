import ArgumentParser

/// The option that names a configuration file.
///
/// `NanoFlowCommand` reads the file before the command line is parsed; a command that has this option
/// takes one.
struct ConfigurationOptions: ParsableArguments {
    @Option(
        help: """
            A YAML file of these options, each under its name without dashes, as port: 8000. All may be \
            given in the environment, too, as NANOFLOW_PORT=8000, which goes before the file; the \
            command line goes before both.
            """)
    var config: String?
}
