import NIOCore
import Rotation

extension Listener {
  /// Serves credentials at `path`, to whoever may connect: root.
  convenience init(
    credentials path: Path, _ service: CredentialService, _ connections: Connections
  ) throws(Failure) {
    try self.init(
      path, owner: nil, group: nil, mode: 0o600, handedOver: "credentials"
    ) { channel, user in
      let isRoot = user == 0
      if isRoot {
        try channel.syncOptions?.setOption(
          .socketOption(.so_sndbuf), value: Limits.credentialSendBufferBytes)
      }
      // Nobody makes room here, because an end of file is an empty credential. systemd is told no
      // instead; nobody else takes its place.
      let isAdmitted =
        connections.admit(
          channel, user ?? .max, isOperator: isRoot, evicting: false) != nil
      guard isAdmitted || isRoot else { throw Failure("there is no room for another connection") }
      let address = try? channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(
        of: NIOBSDSocket.Handle.self
      ) { CredentialAddress(of: $0) }
      let ticket = Ticket()
      channel.closeFuture.whenComplete { _ in ticket.letGo() }
      let answer =
        isAdmitted
        ? service.answer(Peer(of: channel), address.flatMap(\.self), ticket, on: channel.eventLoop)
        : channel.eventLoop.makeSucceededFuture(CredentialService.refusal)
      try channel.pipeline.syncOperations.addHandler(TokenConnection(answer))
    }
  }
}
