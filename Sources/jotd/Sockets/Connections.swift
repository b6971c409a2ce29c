import Dispatch
import NIOCore
import Rotation
import Synchronization

/// The connections of one kind of socket that are open, within bounds for all and for each user.
/// When there are too many, room is made at the expense of the user who holds most: of that user's
/// connections the one that was silent longest goes, or when none is silent, the one whose request
/// has waited longest. So no number of crowds keeps out a newcomer who has few, and operators have
/// places of their own.
final class Connections: Sendable {
  /// How many there may be.
  struct Bounds {
    var all: Int
    var perUser: Int
    /// Of `all`, those that only operators get.
    var reserved: Int
  }

  private struct Entry {
    let user: UInt32
    let channel: any Channel
    /// When it fell silent, or else when it was last heard, as a count.
    var since: UInt64
    /// Whether a request of it waits for its answer.
    var isBusy = false
    /// Whether one had its answer, all of it, and no other has begun.
    var isIdle = false
  }

  private struct State {
    var bounds: Bounds
    var entries: [UInt64: Entry] = [:]
    var counts: [UInt32: Int] = [:]
    var last: UInt64 = 0
    /// Those that ended since memory was last given back.
    var ended = 0
  }

  private let state: Mutex<State>

  init(_ bounds: Bounds) { state = Mutex(State(bounds: bounds)) }

  /// Keeps to other bounds from now on; connections that are open stay.
  func keep(_ bounds: Bounds) { state.withLock { $0.bounds = bounds } }

  /// Takes a connection in, and returns its number; nil when there is no room for it, and none may
  /// be made because `evicting` is false.
  func admit(
    _ channel: any Channel, _ user: UInt32, isOperator: Bool, evicting: Bool = true
  ) -> UInt64? {
    let (number, evicted) = state.withLock { state -> (UInt64?, (any Channel)?) in
      let bounds = state.bounds
      let held = state.counts[user, default: 0]
      let room = isOperator ? bounds.all : bounds.all - bounds.reserved
      var evicted: (any Channel)?
      if held >= bounds.perUser || state.entries.count >= room {
        guard evicting, let victim = victim(for: user, held, state) else { return (nil, nil) }
        evicted = state.entries[victim]?.channel
        remove(victim, &state)
      }
      state.last += 1
      state.entries[state.last] = Entry(user: user, channel: channel, since: state.last)
      state.counts[user, default: 0] += 1
      return (state.last, evicted)
    }
    evicted?.close(promise: nil)
    if let number { channel.closeFuture.whenComplete { _ in self.forget(number) } }
    return number
  }

  /// Notes that a request of the connection waits for its answer, or that none does any more.
  func setBusy(_ number: UInt64, _ isBusy: Bool) {
    state.withLock { state in
      state.last += 1
      guard let place = state.entries.index(forKey: number) else { return }
      state.entries.values[place].since = state.last
      state.entries.values[place].isBusy = isBusy
      if isBusy { state.entries.values[place].isIdle = false }
    }
  }

  /// Notes that the kernel has all of the connection's answer, and that another request may come.
  func setIdle(_ number: UInt64) { state.withLock { $0.entries[number]?.isIdle = true } }

  /// After the listeners were closed: waits until all connections have ended, or for the deadline.
  /// Those that had their answer and ask nothing end at once; others were taken in, and so nobody
  /// else will answer them. Not for the event loop, nor for the main queue.
  func end(by deadline: DispatchTime) {
    let ending = DispatchGroup()
    // On the event loop, which has taken in by then whom the listeners took.
    try? Acceptor.loop.submit {
      for entry in self.state.withLock({ Array($0.entries.values) }) {
        ending.enter()
        entry.channel.closeFuture.whenComplete { _ in ending.leave() }
        if entry.isIdle { entry.channel.close(promise: nil) }
      }
    }.wait()
    _ = ending.wait(timeout: deadline)
  }

  /// The connection that makes room for one of `user`, who holds `held`: its own when nobody holds
  /// more.
  private func victim(for user: UInt32, _ held: Int, _ state: State) -> UInt64? {
    let most = state.counts.max { $0.value < $1.value }
    let payer = held >= min(state.bounds.perUser, most?.value ?? 0) ? user : most?.key
    // Looked through by whoever comes to a full table: nothing but comparisons here.
    return state.entries.lazy.filter { $0.value.user == payer }.min {
      ($0.value.isBusy ? 1 : 0, $0.value.since) < ($1.value.isBusy ? 1 : 0, $1.value.since)
    }?.key
  }

  private func forget(_ number: UInt64) {
    let isCalm = state.withLock { state -> Bool in
      remove(number, &state)
      state.ended += 1
      guard state.ended >= Limits.crowd else { return false }
      state.ended = 0
      return true
    }
    if isCalm { Hardening.trimMemorySoon() }
  }

  private func remove(_ number: UInt64, _ state: inout State) {
    guard let entry = state.entries.removeValue(forKey: number) else { return }
    let rest = state.counts[entry.user, default: 1] - 1
    state.counts[entry.user] = rest == 0 ? nil : rest
  }
}

extension Connections.Bounds {
  /// Those of the query socket, of all token sockets together, and of the credential socket: as
  /// `Limits` has them, or less where the host allows jotd fewer descriptors, because rotations
  /// need some too, and so do the `listening` token sockets.
  static func query(listening: Int = 0) -> Connections.Bounds {
    let all = share(Limits.connections, listening)
    return Connections.Bounds(
      all: all, perUser: all / 2, reserved: min(Limits.connectionsReserved, all / 4))
  }

  static func tokens(listening: Int = 0) -> Connections.Bounds {
    let all = share(Limits.tokenConnections, listening)
    return Connections.Bounds(all: all, perUser: all / 2, reserved: 0)
  }

  /// All are root's, who is systemd; others are kept to half, until they have read that they have
  /// no business there.
  static func credentials(listening: Int = 0) -> Connections.Bounds {
    let all = share(Limits.credentialConnections, listening)
    return Connections.Bounds(all: all, perUser: all, reserved: all / 2)
  }

  /// All callers share one number, because nobody knows who they are.
  static func publicKeys(listening: Int = 0) -> Connections.Bounds {
    let all = share(Limits.publicKeyConnections, listening)
    return Connections.Bounds(all: all, perUser: all, reserved: 0)
  }

  private static func share(_ wanted: Int, _ listening: Int) -> Int {
    let sum =
      Limits.connections + Limits.tokenConnections + Limits.credentialConnections
      + Limits.publicKeyConnections
    let free =
      Hardening.fileLimit - Limits.descriptorsReserved - listening * Limits.descriptorsOfListener
    let allowed = max(Limits.fewestConnections, free)
    return allowed >= sum ? wanted : max(2, wanted * allowed / sum)
  }
}
