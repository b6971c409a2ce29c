import CLinux
import NIOCore
import Rotation
import Synchronization

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
  private let store: StatusStore
  private let longPolls: LongPolls
  private let renewals: Renewals
  private let report: @Sendable (Event) -> Void
  private let denials = DenialLog()
  private let isClosed = Atomic(false)

  init(
    _ store: StatusStore, _ longPolls: LongPolls, _ renewals: Renewals,
    report: @escaping @Sendable (Event) -> Void
  ) {
    self.store = store
    self.longPolls = longPolls
    self.renewals = renewals
    self.report = report
  }

  /// systemd takes an empty answer for an empty credential and starts the unit; more than a
  /// credential may have (1 MiB) makes it refuse to. So this is how no is said.
  fileprivate static let refusal = ByteBuffer(repeating: 0x0a, count: 1 << 20 + 1)

  /// What goes to the peer: its token, as soon as there is one, or the refusal. A token with little
  /// life left is replaced first if it can be, because the unit keeps it until it starts again.
  func answer(
    _ peer: Peer?, _ address: CredentialAddress?, _ ticket: Ticket, on loop: any EventLoop
  ) -> EventLoopFuture<ByteBuffer> {
    guard let peer, !isClosed.load(ordering: .relaxed) else {
      return loop.makeSucceededFuture(CredentialService.refusal)
    }
    guard peer.user == 0, let address else {
      refuse(peer, nil, "use the credential socket: it is for systemd")
      return loop.makeSucceededFuture(CredentialService.refusal)
    }
    let name = address.credential
    guard let identity = store[name]?.identity, identity.isLoadable(by: address.unit) else {
      refuse(peer, address.unit, "load the credential \(name)")
      return loop.makeSucceededFuture(CredentialService.refusal)
    }
    let asked = ContinuousClock.now
    guard let status = validStatus(name),
      case let least = store.general.access.leastLife(status.identity),
      renewals.isNeeded(status, least)
    else { return give(name, address.unit, since: asked, ticket, on: loop) }
    return renewals.renew(name, least, for: Limits.credentialRenewal, ticket, on: loop).flatMap {
      self.give(name, address.unit, since: asked, ticket, on: loop)
    }
  }

  private func give(
    _ name: String, _ unit: String, since asked: ContinuousClock.Instant, _ ticket: Ticket,
    on loop: any EventLoop
  ) -> EventLoopFuture<ByteBuffer> {
    if let token = token(name, unit, ticket) { return loop.makeSucceededFuture(token) }
    let left = Limits.credentialHold - (ContinuousClock.now - asked)
    guard left > .zero, !ticket.hasLeft, !isClosed.load(ordering: .relaxed),
      let identity = store[name]?.identity, identity.isLoadable(by: unit),
      let held = longPolls.hold(name, nil, for: left, ticket, on: loop)
    else { return loop.makeSucceededFuture(CredentialService.refusal) }
    if validStatus(name) != nil { longPolls.release(name) }
    // A reload ends all holds, and brings no token.
    return held.end.flatMap { self.give(name, unit, since: asked, ticket, on: loop) }
  }

  /// Tells all who wait that no token comes any more.
  func close() {
    isClosed.store(true, ordering: .relaxed)
    renewals.close()
    longPolls.releaseAll()
  }

  private func validStatus(_ name: String) -> IdentityStatus? {
    store[name].flatMap { ($0.token?.expiresAt ?? .now) > .now ? $0 : nil }
  }

  /// The token as it is now, noted as the unit's. Whether the unit may have it is asked again,
  /// because a reload can have come since; and a start that was given up gets nothing.
  private func token(_ name: String, _ unit: String, _ ticket: Ticket) -> ByteBuffer? {
    guard let status = store[name], !ticket.hasLeft, status.identity.isLoadable(by: unit),
      let token = status.token, token.expiresAt > .now
    else { return nil }
    let isFirst = store.handOut(token, of: name, to: unit)
    if isFirst, !status.identity.isRenewed(for: unit) {
      report(.notRenewed(identity: name, unit: unit, expiresAt: token.expiresAt))
    }
    return ByteBuffer(bytes: token.compact)
  }

  private func refuse(_ peer: Peer, _ unit: String?, _ operation: String) {
    denials.report(peer, unit: unit ?? peer.unit, operation, report)
  }
}

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
