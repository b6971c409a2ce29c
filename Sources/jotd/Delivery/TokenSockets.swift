import NIOCore
import Rotation
import Synchronization

/// Token sockets: whoever connects gets the identity's current token and the end of file. Nothing
/// has to be sent; what is sent is thrown away.
final class TokenSockets: Sendable {
  /// The token that a socket gives now; shared by the worker that replaces it and the event loop.
  private final class Current: Sendable {
    let token: Mutex<[UInt8]>

    init(_ token: [UInt8]) { self.token = Mutex(token) }
  }

  private struct Served {
    var delivery: SocketDelivery
    let listener: Listener
    let current: Current
  }

  private let served = Mutex<[Path: Served]>([:])
  /// Those of all token sockets together.
  let connections = Connections(.tokens())

  /// Makes `token`, of the identity of that name, what the socket gives, and makes the socket if it
  /// is not there, or is not as configured any more. Not to be called on the event loop.
  func serve(
    _ token: [UInt8], of identity: String, at delivery: SocketDelivery
  ) throws(Failure) {
    if let known = served.withLock({ $0[delivery.path] }), known.listener.isInPlace {
      known.current.token.withLock { $0 = token }
      let (owner, group, mode) = (delivery.owner, delivery.group, delivery.mode)
      guard
        known.delivery != delivery || !known.listener.has(owner: owner, group: group, mode: mode)
      else { return }
      try known.listener.change(
        owner: delivery.owner, group: delivery.group, mode: delivery.mode)
      return served.withLock { $0[delivery.path]?.delivery = delivery }
    }
    // Forgotten first: should the new one fail, this one must not be taken for it.
    close(delivery.path)
    let current = Current(token)
    let listener = try Listener(
      delivery.path, owner: delivery.owner, group: delivery.group, mode: delivery.mode,
      handedOver: identity
    ) { [connections] channel, user in
      guard let user, connections.admit(channel, user, isOperator: false) != nil else {
        throw Failure("there is no room for another connection")
      }
      let answer = ByteBuffer(bytes: current.token.withLock(\.self))
      try channel.pipeline.syncOperations.addHandler(
        TokenConnection(channel.eventLoop.makeSucceededFuture(answer)))
    }
    listener.begin()
    served.withLock {
      $0[delivery.path] = Served(delivery: delivery, listener: listener, current: current)
    }
  }

  /// What callers find there: the token that the socket gives, unless somebody took it away.
  func look(at delivery: SocketDelivery) -> Found {
    guard let known = served.withLock({ $0[delivery.path] }), known.listener.isInPlace else {
      return .nothing
    }
    return .file(
      known.current.token.withLock(\.self),
      isAsConfigured: known.listener.has(
        owner: delivery.owner, group: delivery.group, mode: delivery.mode))
  }

  /// Ends the socket at `path`, if there is one.
  func close(_ path: Path) {
    served.withLock { $0.removeValue(forKey: path) }?.listener.close()
  }

  func closeAll() {
    for one in served.withLock({ Array($0.values) }) { one.listener.close() }
  }
}

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
