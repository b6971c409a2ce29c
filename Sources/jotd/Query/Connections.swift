import NIOCore
import Rotation
import Synchronization

/// The connections that are open, within the bounds for all and for each user. When there are too
/// many, the one that was silent longest makes room: a caller who says something is served.
final class Connections: Sendable {
  private struct Entry {
    let user: UInt32
    let channel: any Channel
    /// When it fell silent, as a count; nil while a request of it is answered.
    var silentSince: UInt64?
  }

  private struct State {
    var entries: [UInt64: Entry] = [:]
    var counts: [UInt32: Int] = [:]
    var last: UInt64 = 0
  }

  private let state = Mutex(State())

  /// Takes a connection in, and returns its number; nil when there is no room for it.
  func admit(_ channel: any Channel, _ user: UInt32) -> UInt64? {
    let (number, evicted) = state.withLock { state -> (UInt64?, (any Channel)?) in
      var evicted: (any Channel)?
      let isUserFull = state.counts[user, default: 0] >= Limits.connectionsPerUser
      if isUserFull || state.entries.count >= Limits.connections {
        let silent = state.entries.filter {
          $0.value.silentSince != nil && (!isUserFull || $0.value.user == user)
        }
        guard let oldest = silent.min(by: { $0.value.silentSince! < $1.value.silentSince! }) else {
          return (nil, nil)
        }
        evicted = oldest.value.channel
        remove(oldest.key, &state)
      }
      state.last += 1
      state.entries[state.last] = Entry(user: user, channel: channel, silentSince: state.last)
      state.counts[user, default: 0] += 1
      return (state.last, evicted)
    }
    evicted?.close(promise: nil)
    if let number { channel.closeFuture.whenComplete { _ in self.forget(number) } }
    return number
  }

  func setSilent(_ number: UInt64, _ isSilent: Bool) {
    state.withLock { state in
      state.last += 1
      state.entries[number]?.silentSince = isSilent ? state.last : nil
    }
  }

  private func forget(_ number: UInt64) { state.withLock { remove(number, &$0) } }

  private func remove(_ number: UInt64, _ state: inout State) {
    guard let entry = state.entries.removeValue(forKey: number) else { return }
    let rest = state.counts[entry.user, default: 1] - 1
    state.counts[entry.user] = rest == 0 ? nil : rest
  }
}
