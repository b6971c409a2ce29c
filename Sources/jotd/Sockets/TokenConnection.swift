import NIOCore
import Rotation

/// Writes one answer to a connection as soon as there is one, ends its output, and closes it when
/// the client has gone, or after a while.
final class TokenConnection: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let answer: EventLoopFuture<ByteBuffer>
  private var isWritten = false
  private var isInputClosed = false
  private var end: Scheduled<Void>?

  init(_ answer: EventLoopFuture<ByteBuffer>) { self.answer = answer }

  func channelActive(context: ChannelHandlerContext) {
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    answer.whenSuccess { answer in
      let (connection, context) = bound.value
      connection.write(answer, context)
    }
  }

  private func write(_ answer: ByteBuffer, _ context: ChannelHandlerContext) {
    guard context.channel.isActive else { return }
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    // First, because a client that has gone ends the connection while it is written to.
    end = context.eventLoop.scheduleTask(in: .microseconds(Limits.requestTime.microseconds)) {
      bound.value.1.close(promise: nil)
    }
    context.writeAndFlush(wrapOutboundOut(answer)).whenComplete { _ in
      let (connection, context) = bound.value
      connection.isWritten = true
      // Closing at once would take the answer back from a client that has sent something
      // (unix(7) resets such a connection): first the output ends, then the client.
      if connection.isInputClosed {
        context.close(promise: nil)
      } else {
        context.close(mode: .output, promise: nil)
      }
    }
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {}

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    guard case ChannelEvent.inputClosed? = event as? ChannelEvent else { return }
    isInputClosed = true
    if isWritten { context.close(promise: nil) }
  }

  func channelInactive(context: ChannelHandlerContext) { end?.cancel() }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }
}
