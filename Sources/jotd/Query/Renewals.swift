import NIOCore
import Rotation
import Synchronization

/// The rotations that callers have because a token has too little life left for them: all who ask
/// for an identity while one is on its way wait for the same one.
final class Renewals: Sendable {
  private let store: StatusStore
  private let rotate: @Sendable (Set<String>, Bool, @escaping @Sendable () -> Void) -> Void
  /// Who waits for a rotation that is on its way: no more than there are connections.
  private let waiting = LongPolls(perUser: .max)
  private let closed = Atomic(false)

  /// `rotate` is that of `QueryService.Control`.
  init(
    _ store: StatusStore,
    _ rotate: @escaping @Sendable (Set<String>, Bool, @escaping @Sendable () -> Void) -> Void
  ) {
    self.store = store
    self.rotate = rotate
  }

  /// Whether the token has less than `minimum` left, and a new one would have more: that is so from
  /// the next second on, because `iat` is a whole second.
  func isNeeded(_ status: IdentityStatus, _ minimum: Duration) -> Bool {
    guard let token = status.token else { return true }
    let now = Instant.now
    return token.expiresAt - now < minimum && token.issuedAt.wholeSeconds != now.wholeSeconds
  }

  /// Has the token of an identity replaced until it has `minimum` left; comes when that is done, or
  /// failed, after `limit`, when the client goes, or when jotd stops.
  func renew(
    _ name: String, _ minimum: Duration, for limit: Duration, _ ticket: Ticket,
    on loop: any EventLoop
  ) -> EventLoopFuture<Void> {
    let end = ContinuousClock.now + limit
    return rotation(of: name, until: end, ticket, on: loop).flatMap {
      // The rotation that others had asked for before may have come a second too early.
      guard let status = self.store[name], self.isNeeded(status, minimum) else {
        return loop.makeSucceededVoidFuture()
      }
      return self.rotation(of: name, until: end, ticket, on: loop)
    }
  }

  private func rotation(
    of name: String, until end: ContinuousClock.Instant, _ ticket: Ticket, on loop: any EventLoop
  ) -> EventLoopFuture<Void> {
    guard !ticket.hasLeft, end > .now,
      let held = waiting.hold(name, nil, for: end - .now, ticket, on: loop)
    else { return loop.makeSucceededVoidFuture() }
    if held.isFirst { rotate([name], true) { self.waiting.release(name) } }
    // Between the look and the hold, it may have come to that.
    if isClosed { waiting.release(name) }
    return held.end
  }

  /// jotd stops: nobody waits any more.
  func close() {
    closed.store(true, ordering: .sequentiallyConsistent)
    waiting.releaseAll()
  }

  /// Whether jotd stops, so that a token with too little life left stays as it is.
  var isClosed: Bool { closed.load(ordering: .sequentiallyConsistent) }
}
