/// What requests are predicted to take, before the engine has seen them.
package struct QueueForecast: Sendable {
    var times = StepForecast()
    /// Tokens that a completion has where nothing but its limit is known.
    var likelyTokens = 0
    /// Sequences that may run at once, and those that the KV cache has room for as well.
    var sequences = 1
    var fittingSequences = 1

    /// Seconds that a request adds to the wait of those behind it; nil as long as nothing is known.
    ///
    /// Where it is one of so few that it need not wait for another's end, that is its prompt's time.
    func seconds(_ request: EngineRequest, behind count: Int) -> Double? {
        let waitsForAnEnd = count >= fittingSequences
        return times.seconds(
            promptTokens: request.prompt.count,
            completionTokens: waitsForAnEnd ? completionTokens(request) : 0,
            among: fittingSequences)
    }

    /// What a tenant is charged for a request: milliseconds of the machine.
    ///
    /// As if the machine were always full, so that equal requests cost the same whenever they come. Before
    /// anything is known, tokens stand for time.
    func cost(promptTokens: Int, completionTokens: Int) -> Double {
        let seconds = times.seconds(
            promptTokens: promptTokens, completionTokens: completionTokens, among: sequences)
        return seconds.map { 1000 * $0 } ?? Double(promptTokens + completionTokens)
    }

    func completionTokens(_ request: EngineRequest) -> Int {
        request.sampling.endsAtLimit ? request.maxTokens : min(request.maxTokens, likelyTokens)
    }
}
