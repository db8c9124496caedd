import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import NanoDevice
import NanoFlow

/// Answers those who watch the server: whether it is well, what it counts, what its engine does.
struct Monitoring: Sendable {
    let service: CompletionService
    let state: ServerState
    /// Seconds without a completed step, while there is work, after which the engine counts as stuck.
    let progressSeconds: Double
    private let startNanoseconds = monotonicNanoseconds()

    init(service: CompletionService, state: ServerState, progressSeconds: Double) {
        self.service = service
        self.state = state
        self.progressSeconds = progressSeconds
    }

    /// Well as long as the engine gets on with what it has to do.
    ///
    /// - Throws: ``RequestError/stuck(seconds:)``.
    func health() throws -> Response {
        let seconds = service.generator.secondsWithoutProgress
        guard seconds < progressSeconds else { throw RequestError.stuck(seconds: Int(seconds)) }
        return try JSON.response(["status": "ok"])
    }

    /// Ready as long as new requests are taken.
    ///
    /// - Throws: ``RequestError``.
    func readiness() throws -> Response {
        if state.isDraining { throw RequestError.draining }
        _ = try health()
        return try JSON.response(["status": "ready"])
    }

    func metrics() -> Response {
        let text = MetricsText(
            service.generator.observedEngine, requests: service.counters.current,
            modelName: service.modelName
        ).text
        return Response(
            status: .ok, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }

    func engine() throws -> Response {
        guard let engine = service.generator.observedEngine else {
            throw RequestError.unknownPath("/nanoflow/engine")
        }
        let uptime = Double(monotonicNanoseconds() - startNanoseconds) / 1e9
        return try JSON.response(
            EngineView(engine, modelName: service.modelName, uptimeSeconds: uptime))
    }

    func timeline(_ request: Request) throws -> Response {
        guard let engine = service.generator.observedEngine else {
            throw RequestError.unknownPath("/nanoflow/timeline")
        }
        let given = request.uri.queryParameters["steps"].map(String.init) ?? "4"
        guard let steps = Int(given), 1...TimelineView.maxSteps ~= steps else {
            throw NanoFlowError(
                .invalidRequest, field: "steps", limit: "1 to \(TimelineView.maxSteps)",
                given: given)
        }
        return try JSON.response(TimelineView(engine, lastSteps: steps))
    }
}
