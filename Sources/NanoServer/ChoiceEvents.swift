import NIOCore
import NanoFlow

/// An event of one of a request's choices.
struct ChoiceEvent: Sendable {
    let index: Int
    let event: GenerationEvent
}

/// Calls `body` with the events of all streams in the order in which they happen, until all have
/// finished.
///
/// When the connection closes, the task is cancelled, a stream fails or `body` throws, all streams are
/// dropped, which aborts what still runs. So they are where `body` stays too many events behind; it
/// hears of that when it has taken those.
///
/// - Throws: What a stream or `body` threw; `CancellationError` when the client has gone.
func forEachEvent(
    of streams: [AsyncThrowingStream<GenerationEvent, any Error>], on channel: any Channel,
    _ body: (ChoiceEvent) async throws -> Void
) async throws {
    // What a client has not taken by then it will not take in time.
    let capacity = max(1024, 16 * streams.count)
    let (events, relay) = AsyncThrowingStream<ChoiceEvent, any Error>.makeStream(
        bufferingPolicy: .bufferingOldest(capacity))
    channel.onClose { relay.finish(throwing: CancellationError()) }
    defer { channel.onClose(nil) }
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
            do {
                try await forward(streams) {
                    let result = relay.yield($0)
                    if case .dropped = result { throw RequestError.readTooSlowly(capacity) }
                }
            } catch {
                relay.finish(throwing: error)
            }
        }
        var unfinishedCount = streams.count
        for try await event in events {
            try await body(event)
            guard case .finished = event.event else { continue }
            unfinishedCount -= 1
            if unfinishedCount == 0 {
                group.cancelAll()
                return
            }
        }
        throw CancellationError()
    }
}

/// Calls `take` with every event; when it throws, or a stream does, all streams are dropped.
private func forward(
    _ streams: [AsyncThrowingStream<GenerationEvent, any Error>],
    to take: @Sendable @escaping (ChoiceEvent) throws -> Void
) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
        for (index, stream) in streams.enumerated() {
            group.addTask {
                for try await event in stream {
                    try take(ChoiceEvent(index: index, event: event))
                }
            }
        }
        // In contrast to waitForAll(), this leaves at the first error, which cancels the others.
        for try await _ in group {}
    }
}
