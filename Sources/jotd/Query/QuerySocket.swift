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
    ) { channel, peer in
      guard let number = connections.admit(channel, peer.user) else {
        throw Failure("there is no room for another connection")
      }
      try HTTPConnection.add(to: channel, service, peer, connections, number)
    }
  }
}

extension HTTPConnection {
  /// Makes `channel` speak HTTP, within the limits. Must be called on its event loop.
  static func add(
    to channel: any Channel, _ service: QueryService, _ peer: Peer, _ connections: Connections,
    _ number: UInt64
  ) throws {
    var limits = NIOHTTPDecoderLimitConfiguration()
    limits.maxHeaderFieldSize = Limits.headerBytes
    limits.maxHeaderListSize = Limits.headerBytes
    limits.maxHeaderFieldCount = Limits.headerFields
    try channel.pipeline.syncOperations.configureHTTPServerPipeline(
      withEncoderConfiguration: .init(), withDecoderLimitConfiguration: limits)
    try channel.pipeline.syncOperations.addHandler(
      HTTPConnection(service, peer, connections, number))
  }
}
