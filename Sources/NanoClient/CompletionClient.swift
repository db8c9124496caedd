import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import NanoFlow

/// Sends requests to a server with OpenAI's routes, over as many connections as are in use.
package struct CompletionClient: Sendable {
    /// Of an answer that is no stream.
    private static let maxBodyByteCount = 1 << 20

    private let http: HTTPClient
    private let address: ServerAddress
    private let headers: HTTPHeaders
    private let timeout: Duration

    /// - Parameters:
    ///   - address: Where the server is.
    ///   - apiKey: Sent as a bearer token; nil sends none.
    ///   - timeout: Seconds that a request may take to the end of its answer.
    package init(_ address: ServerAddress, apiKey: String?, timeout: Double) {
        var configuration = HTTPClient.Configuration()
        configuration.timeout.connect = .milliseconds(Int64((timeout * 1000).rounded(.up)))
        configuration.redirectConfiguration = .disallow
        configuration.decompression = .disabled
        // A connection carries one request at a time, and none waits for another's.
        configuration.httpVersion = .http1Only
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = .max
        configuration.connectionPool.retryConnectionEstablishment = false
        // Common servers close what has been idle for 5 s, and a request that crosses that is lost.
        configuration.connectionPool.idleTimeout = .seconds(3)
        http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        self.address = address
        var headers = HTTPHeaders([("accept", "*/*"), ("user-agent", "nanoflow-bench")])
        if let apiKey { headers.add(name: "authorization", value: "Bearer \(apiKey)") }
        self.headers = headers
        self.timeout = .seconds(timeout)
    }

    /// Closes the connections.
    package func shutdown() async throws { try await http.shutdown() }

    // MARK: - Models

    private struct Models: Decodable {
        struct Model: Decodable {
            let id: String
        }

        let data: [Model]
    }

    /// The first model that the server lists.
    ///
    /// - Throws: ``RequestFailure``.
    package func firstModel() async throws -> String {
        var request = HTTPClientRequest(url: address.models)
        request.headers = headers
        return try await inTime { [http, request] in
            let response = try await http.execute(request, deadline: .distantFuture)
            guard response.status == .ok else { throw await Self.refusal(response) }
            let body = try await response.body.collect(upTo: Self.maxBodyByteCount)
            guard
                let models = try? JSONDecoder().decode(
                    Models.self, from: Data(body.readableBytesView)),
                let model = models.data.first
            else { throw RequestFailure("/v1/models lists no model") }
            return model.id
        }
    }

    // MARK: - Completions

    /// Sends one request and reads its answer to the end.
    ///
    /// - Parameters:
    ///   - body: As ``CompletionBody`` makes it.
    ///   - sent: When it is sent: now.
    ///   - clock: Says when things happen.
    /// - Returns: When what came, and how many tokens.
    /// - Throws: ``RequestFailure``; `CancellationError`.
    func complete(
        _ body: Data, sent: Double, clock: LoadClock
    ) async throws -> MeasuredCompletion {
        var request = HTTPClientRequest(url: address.completions)
        request.method = .POST
        request.headers = headers
        request.headers.add(name: "content-type", value: "application/json")
        request.body = .bytes(ByteBuffer(bytes: body))
        return try await inTime { [http, request] in
            let response = try await http.execute(request, deadline: .distantFuture)
            guard response.status == .ok else { throw await Self.refusal(response) }
            let type = response.headers.first(name: "content-type") ?? "nothing"
            guard type.lowercased().hasPrefix("text/event-stream") else {
                throw RequestFailure("the answer is \(type), not text/event-stream")
            }
            var events = EventStreamParser()
            var answer = StreamedAnswer()
            for try await bytes in response.body {
                let time = clock.now
                for event in try events.append(bytes.readableBytesView) {
                    try answer.add(event, at: time)
                }
            }
            return try answer.measured(sent: sent)
        }
    }

    // MARK: - Failures

    /// What is thrown when the time is over.
    private struct TimeIsUp: Error {}

    /// Runs `work` until the time is up, and makes sentences of what goes wrong.
    private func inTime<Value: Sendable>(
        _ work: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        do {
            return try await withThrowingTaskGroup(of: Value.self) { group in
                defer { group.cancelAll() }
                group.addTask(operation: work)
                group.addTask { [timeout] in
                    try await Task.sleep(for: timeout)
                    throw TimeIsUp()
                }
                guard let value = try await group.next() else {
                    preconditionFailure("The group has two tasks.")
                }
                return value
            }
        } catch let failure as RequestFailure {
            throw failure
        } catch is TimeIsUp {
            let seconds = decimal(timeout / .seconds(1), 1)
            throw RequestFailure("no complete answer within \(seconds) s")
        } catch is CancellationError {
            throw CancellationError()
        } catch let error as EventStreamParser.EventTooLong {
            throw RequestFailure("the stream cannot be read: \(error)")
        } catch {
            throw RequestFailure("the connection failed: \(error)")
        }
    }

    private static func refusal(_ response: HTTPClientResponse) async -> RequestFailure {
        let status = "HTTP \(response.status.code)"
        guard let body = try? await response.body.collect(upTo: maxBodyByteCount) else {
            return RequestFailure(status)
        }
        let text = String(decoding: body.readableBytesView.prefix(200), as: UTF8.self)
        let message = ServerError.message(in: body.readableBytesView) ?? text
        return RequestFailure(message.isEmpty ? status : "\(status): \(message)")
    }
}
