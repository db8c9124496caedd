package import NanoFlow

/// What the server needs of a model; tests put a scripted one in its place.
package protocol TextGenerator: Sendable {
    /// The model's name, as its file gives it.
    var modelName: String { get }
    /// Tokens that prompt and completion may have together.
    var maxModelLength: Int { get }
    /// Ids that tokens have.
    var vocabularyCount: Int { get }
    /// The engine behind it, to look at; nil: there is none.
    var observedEngine: Engine? { get }
    /// Seconds for which there has been something to do and none of it has been done.
    var secondsWithoutProgress: Double { get }
    /// The token ids of a prompt, which has at least one and leaves room for a completion.
    func tokens(of prompt: Prompt) throws -> [Int]
    /// The token ids of a prompt of any length.
    func uncheckedTokens(of prompt: Prompt, addsSpecialTokens: Bool) throws -> [Int]
    /// The bytes of one token, empty for special tokens.
    func bytes(of token: Int) -> [UInt8]
    /// The bytes of one token; of a special token, those that it is written with.
    func spelling(of token: Int) -> [UInt8]
    /// Starts completions, all or none; dropping a stream aborts it.
    ///
    /// What is cached with a salt is used by requests with the same salt only; of requests that wait
    /// those of lower priority go first, and those of a tenant that asks for more than its share last.
    func streams(
        _ choices: [(prompt: [Int], sampling: SamplingParameters)], cacheSalt: String?,
        priority: Int, tenant: Int?
    ) throws -> [AsyncThrowingStream<GenerationEvent, any Error>]
}

extension LLM: TextGenerator {
    package var observedEngine: Engine? { engine }
    package var secondsWithoutProgress: Double { engine.secondsWithoutProgress }
}
