import Foundation
package import Hummingbird
package import Logging
import NIOCore
import NanoFlow
import ServiceLifecycle
import UnixSignals

/// The OpenAI-compatible HTTP server.
package struct NanoServer: Sendable {
    /// The version that answers carry.
    package static let version = "0.1.0"

    private let routes: Routes
    private let state = ServerState()
    private let configuration: ServerConfiguration
    private let logger: Logger
    private let onListening: @Sendable (Int) -> Void

    /// Prepares a server; nothing is bound before ``run()``.
    ///
    /// - Parameters:
    ///   - generator: The model; the caller shuts it down after ``run()``.
    ///   - configuration: Address and limits.
    ///   - logger: Takes what goes wrong; never prompts or completions.
    ///   - onListening: Called once with the port, when connections are accepted.
    package init(
        generator: any TextGenerator, configuration: ServerConfiguration = ServerConfiguration(),
        logger: Logger = NanoServer.defaultLogger,
        onListening: @escaping @Sendable (Int) -> Void = { _ in }
    ) {
        let service = CompletionService(
            generator: generator,
            modelName: configuration.servedModelName ?? generator.modelName,
            maxChoices: configuration.maxChoices, counters: RequestCounters())
        self.routes = Routes(
            service: service,
            monitoring: Monitoring(
                service: service, state: state,
                progressSeconds: configuration.progressDuration / .seconds(1)),
            state: state, keys: APIKeys(configuration.apiKeys),
            limits: ServerLimits(
                maxBodyByteCount: configuration.maxBodyByteCount,
                bodyDuration: configuration.bodyDuration,
                bodies: ByteBudget(limit: ServingChoice.bodiesByteCount)))
        self.configuration = configuration
        self.logger = logger
        self.onListening = onListening
    }

    /// Says what goes wrong, and nothing while all is well.
    package static var defaultLogger: Logger {
        var logger = Logger(label: "nanoflow.server")
        logger.logLevel = .notice
        return logger
    }

    /// Serves until SIGTERM or SIGINT, then lets the answers in flight end; a second signal cuts them
    /// off.
    ///
    /// - Throws: ``NanoFlowError`` when the address cannot be bound.
    package func run() async throws {
        var services = ServiceGroupConfiguration(services: [application()], logger: logger)
        services.maximumGracefulShutdownDuration = .seconds(1)
        let group = ServiceGroup(configuration: services)
        do {
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                tasks.addTask { try await group.run() }
                tasks.addTask { await drainOnSignal(group) }
                try await tasks.next()
                tasks.cancelAll()
            }
        } catch let error as IOError {
            let place = "\(configuration.host):\(configuration.port)"
            throw NanoFlowError(
                .invalidConfiguration, field: "port", limit: "free", given: place,
                message: "The server cannot listen on \(place): "
                    + String(cString: strerror(error.errnoCode)) + ".")
        }
    }

    /// Returns at the second signal.
    ///
    /// At the first, requests are refused from then on, and the listening
    /// socket stays until the answers in flight have ended, so that ``Routes`` can say so.
    private func drainOnSignal(_ group: ServiceGroup) async {
        await withTaskGroup(of: Void.self) { tasks in
            for await _ in await UnixSignalsSequence(trapping: .sigterm, .sigint) {
                guard !state.isDraining else { break }
                state.beginDraining()
                logger.notice("stopping", metadata: ["answers_in_flight": "\(state.answering)"])
                tasks.addTask {
                    await waitUntilIdle()
                    await group.triggerGracefulShutdown()
                }
            }
            tasks.cancelAll()
        }
    }

    private func waitUntilIdle() async {
        let deadline = ContinuousClock.now.advanced(by: configuration.drainDuration)
        while state.answering > 0, ContinuousClock.now < deadline {
            // Cancelled at the second signal.
            guard (try? await Task.sleep(for: .milliseconds(20))) != nil else { return }
        }
    }

    /// The server as a service, for a caller that has a service group of its own.
    package func application() -> some ApplicationProtocol {
        let maxBodyByteCount = configuration.maxBodyByteCount
        let state = state
        let stallTime = TimeAmount(configuration.stallDuration)
        let onListening = onListening
        return Application(
            responder: routes,
            server: .http1(
                configuration: .init(
                    additionalChannelHandlers: [
                        ExchangeHandler(state: state, maxBodyByteCount: maxBodyByteCount),
                        ConnectionMonitor(
                            maxDiscardedByteCount: 16 * maxBodyByteCount, stallTime: stallTime),
                    ],
                    idleTimeout: TimeAmount(configuration.idleDuration))),
            configuration: ApplicationConfiguration(
                address: .hostname(configuration.host, port: configuration.port),
                serverName: "nanoflow",
                availableConnectionsDelegate: .maximum(connectionLimit, logger: logger)),
            onServerRunning: { channel in
                if let port = channel.localAddress?.port { onListening(port) }
            },
            logger: logger)
    }

    /// Accepting without a free descriptor would end the server, so some are kept back.
    private var connectionLimit: Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            return configuration.maxConnections
        }
        let free = Int(clamping: limit.rlim_cur) - 64
        return max(1, min(configuration.maxConnections, free))
    }
}
