import NIOCore
import NIOHTTP1
import Rotation

/// The query socket: HTTP/1.1, by SwiftNIO's parser, over a Unix socket.
extension Listener {
  /// Serves `service` at the configured path.
  convenience init(
    _ settings: SocketSettings, _ service: QueryService, _ connections: Connections
  ) throws(Failure) {
    try self.init(
      settings.path, owner: nil, group: settings.group, mode: settings.mode, handedOver: "query"
    ) { channel, user in
      guard let user,
        let number = connections.admit(channel, user, isOperator: service.isOperator(user: user))
      else { throw Failure("there is no room for another connection") }
      let caller = Caller(user, number)
      // Asked before the first answer: to look at a process costs more than a connection does.
      var peer: Peer?
      try HTTPConnection.add(to: channel, service, caller, connections) { request in
        peer = peer ?? Peer(of: channel)
        return peer.map { service.answer(request, $0, caller, on: channel.eventLoop) }
      }
    }
  }
}

extension HTTPConnection {
  /// Makes `channel` speak HTTP, within the limits. Must be called on its event loop.
  static func add(
    to channel: any Channel, _ service: any HTTPService, _ caller: Caller,
    _ connections: Connections, answer: @escaping Answer
  ) throws {
    var limits = NIOHTTPDecoderLimitConfiguration()
    limits.maxHeaderFieldSize = Limits.headerBytes
    limits.maxHeaderListSize = Limits.headerBytes
    limits.maxHeaderFieldCount = Limits.headerFields
    let gate = RequestGate(service.slices, caller.user)
    try channel.syncOptions?.setOption(.autoRead, value: false)
    try channel.pipeline.syncOperations.addHandlers([
      gate, HTTPResponseEncoder(),
      ByteToMessageHandler(HTTPRequestDecoder(limitConfiguration: limits)),
      HTTPConnection(service, caller, connections, gate, answer),
    ])
  }
}
