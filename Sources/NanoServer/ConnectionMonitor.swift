import Hummingbird
import NIOCore
import NIOHTTPTypes

/// Watches one connection: tells the request in flight when its client has gone, and closes on a
/// body without end and on a client that does not take what it is sent.
///
/// All state belongs to the connection's event loop.
final class ConnectionMonitor: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart

    private let maxDiscardedByteCount: Int
    private let stallTime: TimeAmount
    private var stall: Scheduled<Void>?
    private var bodyByteCount = 0
    private var isClosed = false
    private var onClose: (@Sendable () -> Void)?

    /// - Parameters:
    ///   - maxDiscardedByteCount: Bytes of one body after which the connection is closed, whether or
    ///     not anybody reads them. Far above the limit that is answered with 413, so that a client
    ///     which first sends everything and then listens still hears that answer.
    ///   - stallTime: How long what is sent may wait for the client. Until then the answer waits with
    ///     it: no more of it than the connection's buffers hold is written.
    init(maxDiscardedByteCount: Int, stallTime: TimeAmount) {
        self.maxDiscardedByteCount = maxDiscardedByteCount
        self.stallTime = stallTime
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head: bodyByteCount = 0
        case .body(let part): bodyByteCount += part.readableBytes
        case .end: break
        }
        context.fireChannelRead(data)
        if bodyByteCount > maxDiscardedByteCount {
            context.close(promise: nil)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // A client that has closed its sending side is taken to be gone: TCP does not tell the two
        // apart before the first write fails, which in a long prefill is too late.
        if let event = event as? ChannelEvent, event == .inputClosed {
            context.close(promise: nil)
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        stall?.cancel()
        stall = nil
        let channel = context.channel
        if !channel.isWritable {
            stall = context.eventLoop.scheduleTask(in: stallTime) { channel.close(promise: nil) }
        }
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        isClosed = true
        stall?.cancel()
        onClose?()
        onClose = nil
        context.fireChannelInactive()
    }

    fileprivate func replace(onClose action: (@Sendable () -> Void)?) {
        if isClosed {
            action?()
        } else {
            onClose = action
        }
    }
}

extension Channel {
    /// Runs `action` once when the connection closes, or at once if it has; nil takes it back.
    ///
    /// A connection carries one request at a time, so it has one action.
    func onClose(_ action: (@Sendable () -> Void)?) {
        eventLoop.execute {
            let monitor = try? self.pipeline.syncOperations.handler(type: ConnectionMonitor.self)
            if let monitor {
                monitor.replace(onClose: action)
            } else if let action {
                // The handlers of a closed channel are gone.
                self.closeFuture.whenComplete { _ in action() }
            }
        }
    }
}
