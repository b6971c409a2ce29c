import NIOCore
import NIOHTTP1
import Rotation

/// Stands before the parser, and lets one request through at a time: while an answer is on its way,
/// nothing more is read, and what was read stays raw. A client that sends many requests and reads
/// no answer fills its own socket, and not jotd's memory. Lives on the event loop alone.
///
/// Bytes go on up to the next empty line, where a head or a chunked body can end, and up to the end
/// of a body whose length is known: so nothing is parsed beyond the request that is answered.
final class RequestGate: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer

  private enum Phase { case open, shut, discarding }

  private var phase = Phase.open
  /// Read, and not let through yet.
  private var held: ByteBuffer?
  private var isInputClosed = false
  private var isPassing = false
  /// Bytes of the head that is being read, of which no part may be endless.
  private var headBytes = 0
  private var isInBody = false
  /// Bytes of the body that are still to come, where its head said how many.
  private var bodyBytes: Int?
  private var discarded = 0
  /// Whether the line that comes next, or goes on, has had nothing but its end so far.
  private var isLineBlank = true
  private let slices: Slices
  private let user: UInt32
  private var context: ChannelHandlerContext?

  /// `slices` says when it is the turn of `user`, whose connection it is.
  init(_ slices: Slices, _ user: UInt32) {
    self.slices = slices
    self.user = user
  }

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }
  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  /// What follows is a body, of that many bytes if it is known; whoever gets them bounds them.
  func expectBody(of bytes: Int?) {
    isInBody = true
    bodyBytes = bytes
  }

  /// A request is complete: nothing more, until `open`.
  func shut() {
    isInBody = false
    headBytes = 0
    if phase == .open { phase = .shut }
  }

  /// The answer is on its way: the next request may come.
  func open() {
    guard phase == .shut, let context else { return }
    phase = .open
    guard !isPassing else { return }
    if held != nil || isInputClosed { passInTurn(context) } else { context.read() }
  }

  /// Throws away all that still comes, so that the client can read its last answer: closing at once
  /// would take it back (unix(7)).
  func discard() {
    phase = .discarding
    held = nil
    context?.read()
  }

  func channelActive(context: ChannelHandlerContext) {
    context.fireChannelActive()
    context.read()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var buffer = unwrapInboundIn(data)
    switch phase {
    case .discarding:
      discarded += buffer.readableBytes
      if discarded > Limits.drainedBytes { context.close(promise: nil) }
    case .open where held == nil:
      held = buffer
      passInTurn(context)
    case .open, .shut:
      // SwiftNIO reads all that there is once the client ended its side: more than this is not
      // kept.
      let room = Limits.heldBytes - (held?.readableBytes ?? 0)
      guard var kept = buffer.readSlice(length: min(room, buffer.readableBytes)) else { return }
      if held?.writeBuffer(&kept) == nil { held = kept }
    }
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    context.fireChannelReadComplete()
    if phase == .discarding || phase == .open && held == nil { context.read() }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    guard case ChannelEvent.inputClosed? = event as? ChannelEvent else {
      return context.fireUserInboundEventTriggered(event)
    }
    isInputClosed = true
    if phase == .discarding { return context.close(promise: nil) }
    if phase == .open, held == nil { context.fireUserInboundEventTriggered(event) }
  }

  /// Lets a request through when it is the user's turn: a client who sent many does not hold up
  /// others.
  private func passInTurn(_ context: ChannelHandlerContext) {
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    slices.run(user, on: context.eventLoop) {
      let (gate, context) = bound.value
      gate.pass(context)
    }
  }

  /// Lets bytes through until a request is complete or none are left.
  private func pass(_ context: ChannelHandlerContext) {
    guard !isPassing, context.channel.isActive else { return }
    isPassing = true
    var isRequestComplete = false
    while phase == .open, !isRequestComplete, let piece = takePiece() {
      if !isInBody { headBytes += piece.readableBytes }
      guard headBytes <= Limits.headBytes else {
        held = nil
        context.fireErrorCaught(HTTPParserError.headerOverflow)
        break
      }
      context.fireChannelRead(wrapInboundOut(piece))
      isRequestComplete = phase != .open || headBytes == 0
    }
    isPassing = false
    guard phase == .open else { return }
    if held != nil {
      passInTurn(context)
    } else if isInputClosed {
      context.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
    } else {
      context.read()
    }
  }

  /// The next bytes, up to where a head or a body can end.
  private func takePiece() -> ByteBuffer? {
    guard var buffer = held else { return nil }
    var length = buffer.readableBytes
    if isInBody, let rest = bodyBytes {
      length = min(length, rest)
      bodyBytes = rest - length
    } else {
      length = lengthOfPiece(buffer.readableBytesView)
    }
    let piece = buffer.readSlice(length: length)
    held = buffer.readableBytes > 0 ? buffer : nil
    return piece
  }

  /// How many of `bytes` there are up to the end of the first empty line, which may have begun in
  /// the bytes before; all when there is none.
  private func lengthOfPiece(_ bytes: ByteBufferView) -> Int {
    var start = bytes.startIndex
    while let feed = bytes[start...].firstIndex(of: 0x0a) {
      let isBlank = isLineBlank && bytes[start..<feed].allSatisfy { $0 == 0x0d }
      isLineBlank = true
      start = bytes.index(after: feed)
      if isBlank { return start - bytes.startIndex }
    }
    isLineBlank = isLineBlank && bytes[start...].allSatisfy { $0 == 0x0d }
    return bytes.count
  }
}
