import ArgumentParser
import NanoFlow

/// The options that say whom the server lets in, and when.
struct AdmissionOptions: ParsableArguments {
    @Option(help: "Requests that may wait; further ones are answered with 429.")
    var maxQueuedRequests = 4096

    @Option(help: "Tokens of prompts that may wait or run; a request beyond is answered with 429.")
    var maxQueuedTokens = 2 << 20

    @Option(
        help: """
            Seconds that a request may wait for its first step: it is answered with 429 where those \
            before it are predicted to take longer, and with 503, or an error in its stream, when it has \
            waited so long (default: any time).
            """)
    var maxWaitingTime: Double?

    @Option(
        help: """
            Time that prompts may take in a step, in that of the completions that run beside them, so \
            that a long prompt does not stall the streams; 0: no bound.
            """)
    var prefillShare = 0.6

    func apply(to configuration: inout EngineConfiguration) {
        configuration.maxQueuedRequests = maxQueuedRequests
        configuration.maxQueuedTokens = maxQueuedTokens
        configuration.serving = ServingChoice(
            prefillShare: prefillShare == 0 ? nil : prefillShare,
            maxWaitingSeconds: maxWaitingTime)
    }
}
