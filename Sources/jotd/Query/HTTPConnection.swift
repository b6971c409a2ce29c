import NIOCore
import NIOHTTP1
import Rotation

/// One client's connection: reads requests within the limits, one at a time, and writes answers.
/// Lives on the event loop alone.
final class HTTPConnection: ChannelInboundHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart

  private let service: QueryService
  private let peer: Peer
  private let connections: Connections
  private let number: UInt64
  private let hold = Holds.Place()

  private var head: HTTPRequestHead?
  private var body: [UInt8] = []
  /// Whether the rest of the request is thrown away, because it was answered already.
  private var isRefused = false
  private var isAnswering = false
  private var isInputClosed = false
  private var deadline: Scheduled<Void>?

  init(_ service: QueryService, _ peer: Peer, _ connections: Connections, _ number: UInt64) {
    self.service = service
    self.peer = peer
    self.connections = connections
    self.number = number
  }

  func channelActive(context: ChannelHandlerContext) {
    expect(within: Limits.requestTime, context)
    context.fireChannelActive()
  }

  func channelInactive(context: ChannelHandlerContext) {
    deadline?.cancel()
    hold.letGo()
    context.fireChannelInactive()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head):
      self.head = head
      body = []
      isRefused = false
      connections.setSilent(number, false)
      expect(within: Limits.requestTime, context)
      if let length = head.headers.first(name: "Content-Length").flatMap(Int.init),
        length > Limits.bodyBytes
      {
        refuse(context)
      }
    case .body(let part):
      guard !isRefused else { return }
      guard body.count + part.readableBytes <= Limits.bodyBytes else { return refuse(context) }
      body += part.readableBytesView
    case .end:
      deadline?.cancel()
      if !isRefused { answer(context) }
    }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    // A client may say that it is done and still wait for the answer.
    if case ChannelEvent.inputClosed? = event as? ChannelEvent {
      isInputClosed = true
      if !isAnswering { context.close(promise: nil) }
    } else {
      context.fireUserInboundEventTriggered(event)
    }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // Broken clients are their own affair: nothing of them reaches the journal.
    context.close(promise: nil)
  }

  private func answer(_ context: ChannelHandlerContext) {
    guard let head else { return }
    self.head = nil
    isAnswering = true
    let request = Request(head, body: body)
    body = []
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    service.answer(request, peer, hold, on: context.eventLoop).whenSuccess { response in
      let (connection, context) = bound.value
      connection.write(response, head, context)
    }
  }

  private func refuse(_ context: ChannelHandlerContext) {
    guard var head else { return }
    isRefused = true
    head.headers.replaceOrAdd(name: "Connection", value: "close")
    write(
      .problem(.payloadTooLarge, "a body has at most \(Limits.bodyBytes) bytes"), head, context)
  }

  private func write(
    _ response: Response, _ request: HTTPRequestHead, _ context: ChannelHandlerContext
  ) {
    guard context.channel.isActive else { return }
    let staysOpen = request.isKeepAlive && !isInputClosed
    var headers = HTTPHeaders(response.headers)
    if response.status != .notModified {
      headers.add(name: "Content-Length", value: String(response.body.count))
    }
    if !staysOpen { headers.replaceOrAdd(name: "Connection", value: "close") }
    let head = HTTPResponseHead(version: .http1_1, status: response.status, headers: headers)
    context.write(wrapOutboundOut(.head(head)), promise: nil)
    if !response.body.isEmpty, request.method != .HEAD {
      let buffer = context.channel.allocator.buffer(bytes: response.body)
      context.write(wrapOutboundOut(.body(.byteBuffer(buffer))), promise: nil)
    }
    isAnswering = false
    connections.setSilent(number, true)
    expect(within: Limits.idleTime, context)
    let written = context.writeAndFlush(wrapOutboundOut(.end(nil)))
    guard !staysOpen else { return }
    let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
    written.whenComplete { _ in bound.value.close(promise: nil) }
  }

  /// Closes the connection unless something happens before `limit`.
  private func expect(within limit: Duration, _ context: ChannelHandlerContext) {
    deadline?.cancel()
    let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
    deadline = context.eventLoop.scheduleTask(in: .microseconds(limit.microseconds)) {
      bound.value.close(promise: nil)
    }
  }
}
