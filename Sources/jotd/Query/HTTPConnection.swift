import NIOCore
import NIOHTTP1
import Rotation

/// One client's connection: reads requests within the limits, one at a time, and writes answers.
/// Lives on the event loop alone.
final class HTTPConnection: ChannelInboundHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart

  private enum Phase { case reading, answering, writing, ending }

  /// The answer to a request that was read to its end, asked for on the event loop; nil to close
  /// the connection.
  typealias Answer = (Request) -> EventLoopFuture<Response>?

  private let service: any HTTPService
  private let caller: Caller
  private let connections: Connections
  private let gate: RequestGate
  private let makeAnswer: Answer

  private var phase = Phase.reading
  private var head: HTTPRequestHead?
  private var body: [UInt8] = []
  private var share: Charge?
  private var isInputClosed = false
  private var alarm: Alarm?
  /// When the answer that is being written is given up, and the bytes that it counts for.
  private var answerDeadline = NIODeadline.distantFuture
  private var charge: Charge?

  init(
    _ service: any HTTPService, _ caller: Caller, _ connections: Connections, _ gate: RequestGate,
    _ makeAnswer: @escaping Answer
  ) {
    self.service = service
    self.caller = caller
    self.connections = connections
    self.gate = gate
    self.makeAnswer = makeAnswer
  }

  func channelActive(context: ChannelHandlerContext) {
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    alarm = Alarm(context.eventLoop) {
      let (connection, context) = bound.value
      connection.runOut(context)
    }
    alarm?.set(in: Limits.requestTime)
    context.fireChannelActive()
  }

  func channelInactive(context: ChannelHandlerContext) {
    alarm?.cancel()
    alarm = nil
    charge = nil
    share = nil
    caller.ticket.letGo()
    context.fireChannelInactive()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    // The gate lets nothing through beyond a request.
    guard phase == .reading else { return context.close(promise: nil) }
    switch unwrapInboundIn(data) {
    case .head(let head):
      self.head = head
      body = []
      let length = head.headers.first(name: "Content-Length").flatMap { Int($0) }
      gate.expectBody(of: length)
      alarm?.set(in: Limits.requestTime)
      if let length, length > Limits.bodyBytes {
        refuse(.bodyTooLarge, context)
      } else if !hasRoom(for: length ?? 0) {
        refuse(.tooManyBodies, context)
      } else if head.version.minor > 0,
        head.headers[canonicalForm: "Expect"].contains(where: {
          $0.lowercased() == "100-continue"
        })
      {
        // It waits to be told that its body is welcome (RFC 9110 section 10.1.1).
        let go = HTTPResponseHead(version: .http1_1, status: .continue)
        context.writeAndFlush(wrapOutboundOut(.head(go)), promise: nil)
      }
    case .body(let part):
      guard body.count + part.readableBytes <= Limits.bodyBytes else {
        return refuse(.bodyTooLarge, context)
      }
      guard hasRoom(for: body.count + part.readableBytes) else {
        return refuse(.tooManyBodies, context)
      }
      body += part.readableBytesView
    case .end:
      gate.shut()
      answer(context)
    }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    // A client may say that it is done and still wait for the answer.
    if case ChannelEvent.inputClosed? = event as? ChannelEvent {
      isInputClosed = true
      if phase == .reading { context.close(promise: nil) }
    } else {
      context.fireUserInboundEventTriggered(event)
    }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // Broken clients are their own affair: nothing of them reaches the journal.
    guard phase == .reading, error is HTTPParserError else { return context.close(promise: nil) }
    if case HTTPParserError.headerOverflow = error {
      refuse(.headTooLarge, context)
    } else {
      refuse(.malformed, context)
    }
  }

  /// Whether a body may have that many bytes, beside those of others of this user. One that grows
  /// gets the room of the largest, because nothing says where it ends.
  private func hasRoom(for bytes: Int) -> Bool {
    guard bytes > Limits.receivedBytes, share == nil else { return true }
    share = service.bodies.take(caller.user, max(bytes, body.isEmpty ? bytes : Limits.bodyBytes))
    if share != nil { body.reserveCapacity(bytes) }
    return share != nil
  }

  // MARK: Answers

  private func answer(_ context: ChannelHandlerContext) {
    guard let head else { return context.close(promise: nil) }
    phase = .answering
    connections.setBusy(caller.number, true)
    alarm?.stop()
    let request = Request(head, body: body)
    self.head = nil
    body = []
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    guard let coming = makeAnswer(request) else { return context.close(promise: nil) }
    coming.whenSuccess { response in
      let (connection, context) = bound.value
      // After an upgrade the parser reads nothing more, and none is offered.
      let staysOpen =
        !connection.service.isEnding && head.isKeepAlive && head.method != .CONNECT
        && !head.headers.contains(name: "Upgrade")
      connection.write(response, head.method, staysOpen: staysOpen, context)
    }
  }

  /// Ends the connection with this answer, before all of a request was read.
  private func refuse(_ problem: Problem, _ context: ChannelHandlerContext) {
    let method = head?.method ?? .GET
    head = nil
    body = []
    write(problem.response, method, staysOpen: false, context)
    gate.discard()
  }

  private func write(
    _ response: Response, _ method: HTTPMethod, staysOpen: Bool, _ context: ChannelHandlerContext
  ) {
    guard context.channel.isActive else { return }
    let staysOpen = staysOpen && !isInputClosed
    phase = .writing
    share = nil
    connections.setBusy(caller.number, false)
    var headers = HTTPHeaders(response.headers)
    if response.status != .notModified {
      headers.add(name: "Content-Length", value: String(response.body.readableBytes))
    }
    if !staysOpen { headers.replaceOrAdd(name: "Connection", value: "close") }
    let head = HTTPResponseHead(version: .http1_1, status: response.status, headers: headers)
    context.write(wrapOutboundOut(.head(head)), promise: nil)
    if response.body.readableBytes > 0, method != .HEAD {
      context.write(wrapOutboundOut(.body(.byteBuffer(response.body))), promise: nil)
    }
    charge = response.charge
    answerDeadline = context.eventLoop.now + .microseconds(Limits.requestTime.microseconds)
    alarm?.set(in: Limits.unreadAnswerTime)
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in
      let (connection, context) = bound.value
      connection.finish(staysOpen, context)
    }
  }

  /// The kernel has all of the answer.
  private func finish(_ staysOpen: Bool, _ context: ChannelHandlerContext) {
    charge = nil
    guard context.channel.isActive else { return }
    caller.wasAnswered()
    if staysOpen {
      phase = .reading
      connections.setIdle(caller.number)
      alarm?.set(in: Limits.idleTime)
      gate.open()
    } else if isInputClosed {
      context.close(promise: nil)
    } else {
      phase = .ending
      alarm?.set(in: Limits.drainTime)
      gate.discard()
      context.close(mode: .output, promise: nil)
    }
  }

  /// Something took too long. Who does not read an answer while others of the same user wait for
  /// the memory that it takes has less time.
  private func runOut(_ context: ChannelHandlerContext) {
    if phase == .writing, answerDeadline > context.eventLoop.now,
      !service.turns.isPressed(caller.user)
    {
      alarm?.set(in: Limits.unreadAnswerTime)
    } else {
      context.close(promise: nil)
    }
  }
}

extension Problem {
  fileprivate static let bodyTooLarge = Problem(
    .payloadTooLarge, "a body has at most \(Limits.bodyBytes) bytes")
  fileprivate static let tooManyBodies = Problem(
    .tooManyRequests,
    "long bodies of this user are on their way already: send fewer at once, or try again soon",
    [("Retry-After", "1")])
  fileprivate static let headTooLarge = Problem(
    .requestHeaderFieldsTooLarge,
    "a request has at most \(Limits.headerFields) header fields of \(Limits.headerBytes) bytes "
      + "in all, and \(Limits.headBytes) bytes before its body")
  fileprivate static let malformed = Problem(.badRequest, "this is no HTTP/1.1 request")
}
