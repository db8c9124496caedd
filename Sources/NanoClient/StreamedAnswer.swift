import Foundation

/// Why a request counts as failed.
package struct RequestFailure: Error, Sendable, Hashable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}

/// What is known of a completion as its events come in.
package struct StreamedAnswer: Sendable, Hashable {
    /// When each event with text came, in seconds since the load's start.
    package private(set) var textTimes: [Double] = []
    /// When the last event of the completion itself came.
    private var lastTime: Double?
    private var usage: CompletionChunk.Usage?
    private var isFinished = false

    package init() {}

    /// Takes in the data of one event.
    ///
    /// - Parameters:
    ///   - data: A chunk as JSON, or `[DONE]`.
    ///   - time: When it came, in seconds since the load's start.
    /// - Throws: ``RequestFailure`` for an error of the server, and for what is no chunk.
    package mutating func add(_ data: [UInt8], at time: Double) throws(RequestFailure) {
        if data.elementsEqual("[DONE]".utf8) {
            isFinished = true
            return
        }
        guard let chunk = try? JSONDecoder().decode(CompletionChunk.self, from: Data(data)),
            chunk.choices != nil || chunk.usage != nil
        else {
            let start = String(decoding: data.prefix(200), as: UTF8.self)
            throw RequestFailure(
                ServerError.message(in: data).map { "the server ended the stream: \($0)" }
                    ?? "the stream has an event that is no completion: \(start)")
        }
        if chunk.hasText { textTimes.append(time) }
        if chunk.choices?.isEmpty == false { lastTime = time }
        isFinished = isFinished || chunk.isLast
        usage = chunk.usage ?? usage
    }

    /// Sums up, when the stream has ended.
    ///
    /// - Parameter sent: When the request was sent, in seconds since the load's start.
    /// - Returns: The measured completion.
    /// - Throws: ``RequestFailure`` where the end or the number of tokens is missing.
    package func measured(sent: Double) throws(RequestFailure) -> MeasuredCompletion {
        guard isFinished, let lastTime else {
            throw RequestFailure("the stream ended before the completion")
        }
        guard let usage else {
            throw RequestFailure(
                "the stream has no usage, although stream_options.include_usage asks for it")
        }
        guard let tokens = usage.completionTokens, tokens > 0 else {
            throw RequestFailure("the completion has no tokens")
        }
        return MeasuredCompletion(
            sent: sent, textTimes: textTimes, end: lastTime, promptTokens: usage.promptTokens,
            completionTokens: tokens)
    }
}
