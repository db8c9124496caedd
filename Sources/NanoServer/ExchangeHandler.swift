import HTTPTypes
import NIOCore
import NIOHTTPTypes

/// Counts the requests of one connection whose answers have not left it, and asks for the body of a client
/// that waits to be asked (RFC 9110, section 10.1.1).
///
/// A body that is announced to be too long is not asked for: then the answer is all that the client
/// hears. All state belongs to the connection's event loop.
final class ExchangeHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private let state: ServerState
    private let maxBodyByteCount: Int
    private var unanswered = 0

    init(state: ServerState, maxBodyByteCount: Int) {
        self.state = state
        self.maxBodyByteCount = maxBodyByteCount
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head(let request) = unwrapInboundIn(data) {
            // A head has no place between the parts of another answer.
            if unanswered == 0, waits(request) {
                let head = HTTPResponsePart.head(HTTPResponse(status: .continue))
                context.writeAndFlush(wrapOutboundOut(head), promise: nil)
            }
            unanswered += 1
            state.begin()
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard case .end = unwrapOutboundIn(data) else {
            return context.write(data, promise: promise)
        }
        let written = promise ?? context.eventLoop.makePromise()
        let here = NIOLoopBound(self, eventLoop: context.eventLoop)
        // The kernel has all of it, or never will.
        written.futureResult.whenComplete { _ in here.value.end(1) }
        context.write(data, promise: written)
    }

    func channelInactive(context: ChannelHandlerContext) {
        end(unanswered)
        context.fireChannelInactive()
    }

    private func end(_ count: Int) {
        for _ in 0..<min(count, unanswered) {
            unanswered -= 1
            state.end()
        }
    }

    private func waits(_ request: HTTPRequest) -> Bool {
        let announced = request.headerFields[.contentLength].flatMap { Int($0) } ?? 0
        return request.headerFields[.expect]?.lowercased() == "100-continue"
            && announced <= maxBodyByteCount
    }
}
