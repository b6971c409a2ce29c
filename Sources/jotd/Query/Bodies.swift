import Rotation
import Synchronization

/// The memory that unfinished requests may take: bodies beyond `Limits.receivedBytes`, which few
/// honest clients send, within bounds for each user and for all.
final class Bodies: Sendable {
  private struct State {
    var taken: [UInt32: Int] = [:]
    var total = 0
  }

  private let state = Mutex(State())

  /// Room for a body of that many bytes; nil when there is none for this user.
  func take(_ user: UInt32, _ bytes: Int) -> Charge? {
    state.withLock { state in
      let taken = state.taken[user, default: 0] + bytes
      guard taken <= Limits.bodiesPerUser, state.total + bytes <= Limits.bodies else { return nil }
      state.taken[user] = taken
      state.total += bytes
      return Charge { [self] in giveBack(user, bytes) }
    }
  }

  private func giveBack(_ user: UInt32, _ bytes: Int) {
    state.withLock { state in
      let rest = state.taken[user, default: bytes] - bytes
      state.taken[user] = rest > 0 ? rest : nil
      state.total -= bytes
    }
  }
}
