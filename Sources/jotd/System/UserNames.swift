import Dispatch
import Rotation
import Synchronization

/// The names of users for messages, looked up on a queue of its own: where users come over a
/// network, that can hang, and then a message tells the number.
final class UserNames: Sendable {
  typealias Use = @Sendable (String?) -> Void

  private struct State {
    var known: [UInt32: (name: String?, end: ContinuousClock.Instant)] = [:]
    /// Who waits for which name. Those who have waited too long have left.
    var waiting: [UInt32: [Use]] = [:]
    /// The look-ups that were begun and have not come back, for which somebody may wait or not.
    var sought: Set<UInt32> = []
  }

  private let state = Mutex(State())
  private let queue = DispatchQueue(label: "jotd.names")
  private let clock = DispatchQueue(label: "jotd.names.limit")

  /// Calls `use` once, at once or on another thread, with the name of `user`; with nil when it has
  /// none, when it does not become known in time (`Limits.nameTime` at most), or when too many
  /// names are being looked up already.
  func look(_ user: UInt32, _ use: @escaping Use) {
    enum Step {
      case tell(String?)
      case wait(mustSeek: Bool)
    }
    let step = state.withLock { state -> Step in
      if let entry = state.known[user], entry.end > .now { return .tell(entry.name) }
      let isSought = state.sought.contains(user)
      guard isSought || state.sought.count < Limits.namesSought else { return .tell(nil) }
      state.sought.insert(user)
      state.waiting[user, default: []].append(use)
      return .wait(mustSeek: !isSought)
    }
    switch step {
    case .tell(let name): use(name)
    case .wait(let mustSeek):
      if mustSeek { queue.async { self.seek(user) } }
      clock.asyncAfter(deadline: .now() + Limits.nameTime.interval) {
        self.tell(user, nil)
      }
    }
  }

  private func seek(_ user: UInt32) {
    let name = Accounts.name(user: user)
    state.withLock { state in
      state.sought.remove(user)
      if state.known.count >= Limits.namesKnown { state.known = [:] }
      state.known[user] = (name, .now + Limits.nameAge)
    }
    tell(user, name)
  }

  private func tell(_ user: UInt32, _ name: String?) {
    for use in state.withLock({ $0.waiting.removeValue(forKey: user) }) ?? [] { use(name) }
  }
}
