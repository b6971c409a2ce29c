import CLinux
import NIOCore
import Rotation

/// Who asks on the credential socket: systemd, for one unit and one credential.
///
/// The address that systemd binds before it connects is `\0HEX/unit/UNIT/ID`, abstract, where HEX
/// is random (systemd.exec(5), LoadCredential=). That nobody else has such an address is not
/// promised by it alone: the peer has to be root, too.
struct CredentialAddress: Equatable {
  let unit: String
  let credential: String

  /// Reads the name of a peer's address, with the zero byte that begins it; nil for any other.
  init?(_ name: [UInt8]) {
    guard name.first == 0 else { return nil }
    let parts = name.dropFirst().split(
      separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    guard parts.count == 4, (1...16).contains(parts[0].count),
      parts[0].allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
      parts[1].elementsEqual("unit".utf8), let unit = UnitName.read(parts[2])
    else { return nil }
    self.unit = unit
    credential = String(decoding: parts[3], as: UTF8.self)
    guard Identity.fault(inName: credential) == nil else { return nil }
  }

  /// That of the peer of a connected socket.
  init?(of socket: Int32) {
    var name = [CChar](repeating: 0, count: 128)
    let length = unsafe linux_peer_address(socket, &name, Int32(name.count))
    guard length > 0 else { return nil }
    self.init(name.prefix(Int(length)).map { UInt8(bitPattern: $0) })
  }
}

/// The credential socket: gives a unit that starts its identity's token. A unit that is not allowed
/// to have it, and one whose token does not come, is kept from starting: see `refusal`.
final class CredentialService: Sendable {
  private let board: Noticeboard
  private let holds: Holds
  private let report: @Sendable (Event) -> Void

  init(_ board: Noticeboard, _ holds: Holds, report: @escaping @Sendable (Event) -> Void) {
    self.board = board
    self.holds = holds
    self.report = report
  }

  /// systemd takes an empty answer for an empty credential and starts the unit; more than a
  /// credential may have (1 MiB) makes it refuse to. So this is how no is said.
  fileprivate static let refusal = [UInt8](repeating: 0x0a, count: 1 << 20 + 1)

  /// What goes to the peer: its token, as soon as there is one, or the refusal.
  func answer(
    _ peer: Peer, _ address: CredentialAddress?, _ place: Holds.Place, on loop: any EventLoop
  ) -> EventLoopFuture<[UInt8]> {
    guard peer.user == 0, let address else {
      refuse(peer, nil, "use the credential socket: it is for systemd")
      return loop.makeSucceededFuture(CredentialService.refusal)
    }
    let name = address.credential
    guard board.general.access.mayLoad(name, unit: address.unit) else {
      refuse(peer, address.unit, "load the credential \(name)")
      return loop.makeSucceededFuture(CredentialService.refusal)
    }
    if let token = token(name) { return loop.makeSucceededFuture(token) }
    guard let held = holds.hold(name, peer.user, for: Limits.credentialHold, place, on: loop) else {
      return loop.makeSucceededFuture(CredentialService.refusal)
    }
    if token(name) != nil { holds.release(name) }
    return held.map { self.token(name) ?? CredentialService.refusal }
  }

  private func token(_ name: String) -> [UInt8]? {
    guard let token = board[name]?.token, token.expiry > .now else { return nil }
    return token.compact
  }

  private func refuse(_ peer: Peer, _ unit: String?, _ deed: String) {
    report(.refused(user: peer.user, unit: unit ?? peer.unit, deed: deed))
  }
}

extension Listener {
  /// Serves credentials at `path`, to whoever may connect: root.
  convenience init(
    credentials path: Path, _ service: CredentialService, _ connections: Connections
  ) throws(Failure) {
    try self.init(
      path, owner: nil, group: nil, mode: 0o600, handedOver: "credentials"
    ) { channel, peer in
      guard connections.admit(channel, peer.user) != nil else {
        throw Failure("there is no room for another connection")
      }
      let address = try channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(
        of: NIOBSDSocket.Handle.self
      ) { CredentialAddress(of: $0) }
      let place = Holds.Place()
      channel.closeFuture.whenComplete { _ in place.letGo() }
      let answer = service.answer(peer, address.flatMap(\.self), place, on: channel.eventLoop)
      try channel.pipeline.syncOperations.addHandler(TokenConnection(answer))
    }
  }
}
