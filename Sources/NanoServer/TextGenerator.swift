package import NanoFlow

/// What the server needs of a model; tests put a scripted one in its place.
package protocol TextGenerator: Sendable {
    /// The model's name, as its file gives it.
    var modelName: String { get }
    /// Tokens that prompt and completion may have together.
    var maxModelLength: Int { get }
    /// What runs, waits and has been counted.
    var status: EngineStatus { get }
    /// The token ids of a prompt.
    func tokens(of prompt: Prompt) throws -> [Int]
    /// The bytes of one token, empty for special tokens.
    func bytes(of token: Int) -> [UInt8]
    /// Starts a completion; dropping the stream aborts it.
    ///
    /// What is cached with a salt is used by requests with the same salt only; of requests that wait
    /// those of lower priority go first.
    func stream(
        _ prompt: Prompt, sampling: SamplingParameters, cacheSalt: String?, priority: Int
    ) throws -> AsyncThrowingStream<GenerationEvent, any Error>
}

extension LLM: TextGenerator {}
