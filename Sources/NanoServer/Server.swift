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
            maxChoices: configuration.maxChoices)
        self.routes = Routes(service: service, maxBodyByteCount: configuration.maxBodyByteCount)
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

    /// Serves until SIGTERM or SIGINT, then lets the answers in flight end.
    ///
    /// - Throws: ``NanoFlowError`` when the address cannot be bound.
    package func run() async throws {
        var group = ServiceGroupConfiguration(
            services: [application()], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
        group.maximumGracefulShutdownDuration = configuration.drainDuration
        do {
            try await ServiceGroup(configuration: group).run()
        } catch let error as IOError {
            let place = "\(configuration.host):\(configuration.port)"
            throw NanoFlowError(
                .invalidConfiguration, field: "port", limit: "free", given: place,
                message: "The server cannot listen on \(place): "
                    + String(cString: strerror(error.errnoCode)) + ".")
        }
    }

    /// The server as a service, for a caller that has a service group of its own.
    package func application() -> some ApplicationProtocol {
        let maxDiscardedByteCount = 16 * configuration.maxBodyByteCount
        let onListening = onListening
        return Application(
            responder: routes,
            server: .http1(
                configuration: .init(
                    additionalChannelHandlers: [
                        ConnectionMonitor(maxDiscardedByteCount: maxDiscardedByteCount)
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
