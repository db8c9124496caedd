package import NanoDevice

/// How far a load is.
package struct LoadProgress: Sendable, Hashable {
    package fileprivate(set) var sent = 0
    package fileprivate(set) var completed = 0
    package fileprivate(set) var failed = 0
}

/// Sends the requests of a load, each at its time, and measures what comes back.
package struct LoadRun: Sendable {
    private let client: CompletionClient
    private let body: CompletionBody
    private let maxConcurrency: Int?

    /// How far the load is that runs now.
    package let progress = Locked(LoadProgress())

    /// - Parameters:
    ///   - client: Talks to the server.
    ///   - body: Spells the requests.
    ///   - maxConcurrency: Requests in flight at most; where as many are, the next one waits for its
    ///     place, and is late. nil is without a limit.
    package init(_ client: CompletionClient, _ body: CompletionBody, maxConcurrency: Int?) {
        self.client = client
        self.body = body
        self.maxConcurrency = maxConcurrency
    }

    /// Asks for one short completion, so that what fails for every request fails at once.
    ///
    /// - Throws: ``RequestFailure``.
    package func probe() async throws {
        // A prompt that no load begins with.
        let prompt = OnlinePrompt.random(count: 8, seed: .max)
        let json = try body.json(prompt, outputLength: 2)
        _ = try await client.complete(json, sent: 0, clock: LoadClock())
    }

    /// Sends all requests; no answer, early or late, changes when the next one goes, but for
    /// `maxConcurrency`.
    ///
    /// - Returns: What became of each, in the order of their arrival.
    /// - Throws: `CancellationError`.
    package func run(_ load: OnlineLoad) async throws -> [RequestRecord] {
        progress.withLock { $0 = LoadProgress() }
        let clock = LoadClock()
        return try await withThrowingTaskGroup(of: (Int, RequestRecord).self) { group in
            var records: [(Int, RequestRecord)] = []
            var inFlightCount = 0
            for (index, request) in load.requests.enumerated() {
                try await Task.sleep(until: clock.instant(request.arrival), clock: .continuous)
                if inFlightCount == maxConcurrency, let record = try await group.next() {
                    records.append(record)
                    inFlightCount -= 1
                }
                group.addTask { (index, try await send(request, clock)) }
                inFlightCount += 1
            }
            for try await record in group { records.append(record) }
            return records.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }

    private func send(
        _ request: OnlineLoad.Request, _ clock: LoadClock
    ) async throws -> RequestRecord {
        let json = try body.json(request.prompt, outputLength: request.outputLength)
        let sent = clock.now
        progress.withLock { $0.sent += 1 }
        let outcome: RequestRecord.Outcome
        do {
            outcome = .completed(try await client.complete(json, sent: sent, clock: clock))
            progress.withLock { $0.completed += 1 }
        } catch let failure as RequestFailure {
            outcome = .failed(failure)
            progress.withLock { $0.failed += 1 }
        }
        return RequestRecord(
            arrival: request.arrival, sent: sent, ended: clock.now,
            outputLength: request.outputLength, outcome: outcome)
    }
}
