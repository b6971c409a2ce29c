import NIOCore
import Rotation
import Synchronization

/// The rotations that callers have because a token has too little life left for them: all who ask
/// for an identity while one is on its way wait for the same one.
final class Renewals: Sendable {
  private let store: StatusStore
  private let rotate: @Sendable (Set<String>, Bool, @escaping @Sendable () -> Void) -> Void
  /// Who waits for a rotation that is on its way, by identity.
  private let waiting = Mutex<[String: [EventLoopPromise<Void>]]>([:])

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
  /// failed.
  func renew(
    _ name: String, _ minimum: Duration, on loop: any EventLoop
  ) -> EventLoopFuture<Void> {
    rotation(of: name, on: loop).flatMap {
      // The rotation that others had asked for before may have come a second too early.
      guard let status = self.store[name], self.isNeeded(status, minimum) else {
        return loop.makeSucceededVoidFuture()
      }
      return self.rotation(of: name, on: loop)
    }
  }

  private func rotation(of name: String, on loop: any EventLoop) -> EventLoopFuture<Void> {
    let done = loop.makePromise(of: Void.self)
    let isFirst = waiting.withLock { waiting in
      waiting[name, default: []].append(done)
      return waiting[name]?.count == 1
    }
    if isFirst {
      rotate([name], true) { [self] in
        let all = waiting.withLock { $0.removeValue(forKey: name) } ?? []
        for done in all { done.succeed() }
      }
    }
    return done.futureResult
  }
}
