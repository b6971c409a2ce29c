import NIOCore
import Rotation
import Synchronization

/// The requests that are held until an identity has a new token, within the bound for each user.
final class LongPolls: Sendable {
  private struct Waiter {
    let promise: EventLoopPromise<Void>
    let user: UInt32?
  }

  private struct State {
    var waiters: [String: [UInt64: Waiter]] = [:]
    var counts: [UInt32?: Int] = [:]
    var last: UInt64 = 0
  }

  private let state = Mutex(State())

  /// A future that comes when `name` has a new token, after `span`, or when the ticket is let go;
  /// nil when `user` holds too many already. No user stands for systemd, whose requests on the
  /// credential socket are counted by themselves.
  func hold(
    _ name: String, _ user: UInt32?, for span: Duration, _ ticket: Ticket, on loop: any EventLoop
  ) -> EventLoopFuture<Void>? {
    let promise = loop.makePromise(of: Void.self)
    let number = state.withLock { state -> UInt64? in
      guard state.counts[user, default: 0] < Limits.heldPerUser else { return nil }
      state.counts[user, default: 0] += 1
      state.last += 1
      state.waiters[name, default: [:]][state.last] = Waiter(promise: promise, user: user)
      return state.last
    }
    guard let number else {
      promise.succeed()
      return nil
    }
    let end = loop.scheduleTask(in: .microseconds(span.microseconds)) { promise.succeed() }
    ticket.onLeave { promise.succeed() }
    return promise.futureResult.always { _ in
      end.cancel()
      ticket.onLeave(nil)
      self.forget(name, number)
    }
  }

  /// Lets all go that are held for `name`.
  func release(_ name: String) {
    let waiters = state.withLock { Array(($0.waiters[name] ?? [:]).values) }
    for waiter in waiters { waiter.promise.succeed() }
  }

  /// Lets all go.
  func releaseAll() { for name in state.withLock({ Array($0.waiters.keys) }) { release(name) } }

  private func forget(_ name: String, _ number: UInt64) {
    state.withLock { state in
      guard let waiter = state.waiters[name]?.removeValue(forKey: number) else { return }
      if state.waiters[name]?.isEmpty == true { state.waiters[name] = nil }
      let rest = state.counts[waiter.user, default: 1] - 1
      state.counts[waiter.user] = rest == 0 ? nil : rest
    }
  }
}

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
