/// Where the server listens, and what it lets a client ask for.
package struct ServerConfiguration: Sendable, Hashable {
    /// The address to listen on, as a name or number.
    package var host: String
    /// The port to listen on; 0 lets the system choose a free one.
    package var port: Int
    /// The name that clients give as `model`; nil is the name in the model's file.
    package var servedModelName: String?
    /// Bytes of a request's body; longer ones are answered with 413.
    package var maxBodyByteCount = 4 << 20
    /// Choices of one request: its prompts times `n`.
    package var maxChoices = 256
    /// Open connections, as far as the process may open that many; further ones wait.
    package var maxConnections = 4096
    /// Time in which a connection without a request, or a request's head, may make no progress.
    package var idleDuration = Duration.seconds(75)
    /// Time for a request's body to arrive in whole.
    package var bodyDuration = Duration.seconds(60)
    /// Time in which a client that is sent to may take nothing of it.
    package var stallDuration = Duration.seconds(60)
    /// Time without a completed step, while there is work, after which the engine counts as stuck.
    package var progressDuration = Duration.seconds(60)
    /// Keys of which a request must show one; none: every request may pass.
    package var apiKeys: [String] = []
    /// Time for the answers in flight after a signal to end; then they are cut off.
    package var drainDuration = Duration.seconds(30)

    /// Listens on the loopback interface unless told otherwise.
    package init(
        host: String = "127.0.0.1", port: Int = 8000, servedModelName: String? = nil
    ) {
        self.host = host
        self.port = port
        self.servedModelName = servedModelName
    }
}
