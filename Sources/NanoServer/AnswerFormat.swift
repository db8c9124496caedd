import NanoFlow

/// A stretch of one choice's text with the tokens that belong to it; the whole of it, or a chunk.
struct AnswerPart: Sendable {
    var text = ""
    var tokens: [GeneratedToken] = []
    var finishReason: FinishReason?
    /// Unicode scalars of the choice's tokens before this part.
    var offset = 0
}

/// The shape of an answer: that of chat, or that of text completions.
protocol AnswerFormat: Sendable {
    associatedtype WholeChoice: Encodable & Sendable
    associatedtype ChunkChoice: Encodable & Sendable

    static var idPrefix: String { get }
    static var wholeObject: String { get }
    static var chunkObject: String { get }

    /// What a stream says of a choice before its first token.
    func opening(_ index: Int) -> ChunkChoice?
    func chunk(_ index: Int, _ part: AnswerPart) -> ChunkChoice
    func whole(_ index: Int, _ part: AnswerPart) -> WholeChoice
}

/// A token's text as JSON can carry it: bytes that are no character on their own become U+FFFD.
func displayText(_ bytes: [UInt8]) -> String {
    String(decoding: bytes, as: UTF8.self)
}

/// A log-probability as JSON can carry it.
func finiteLogprob(_ logprob: Double?) -> Double {
    max(logprob ?? -9999, -9999)
}
