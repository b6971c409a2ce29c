import Rotation
import Synchronization

/// Reports denials to the journal, a bounded number for each user.
final class DenialLog: Sendable {
  private struct Window {
    var began = ContinuousClock.now
    var counts: [UInt32: Int] = [:]
  }

  private let window = Mutex(Window())
  private let names = UserNames()

  /// `operation` is what `peer`, for `unit`, was not allowed to do.
  func report(
    _ peer: Peer, unit: String?, _ operation: String, _ journal: @escaping @Sendable (Event) -> Void
  ) {
    let count = window.withLock { window in
      let now = ContinuousClock.now
      if now - window.began > .seconds(10) { window = Window(began: now) }
      window.counts[peer.user, default: 0] += 1
      return window.counts[peer.user, default: 0]
    }
    guard count <= Limits.refusalsLogged else { return }
    let more = count == Limits.refusalsLogged ? "; no more are reported for ten seconds" : ""
    let user = peer.user
    names.look(user) {
      journal(.refused(user: user, name: $0, unit: unit, operation: operation + more))
    }
  }
}
