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

  /// Makes `token`, of the identity of that name, what the socket gives; makes the socket if it is
  /// not there, and changes its owner, group and mode if they differ. Not for the event loop.
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
