import NIOCore
import Rotation
import Synchronization

/// The credential socket: gives a starting unit the token of the identity that it names. A unit
/// that may not have it, or whose token does not come, is kept from starting: see `refusal`.
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
  static let refusal = ByteBuffer(repeating: 0x0a, count: 1 << 20 + 1)

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

  /// From now on new callers are refused, and those let go get the present token if it is valid, or
  /// the refusal.
  func close() { isClosed.store(true, ordering: .relaxed) }

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
