import NIOCore
import Rotation
import Synchronization

/// Whoever waits for something about an identity that is going to happen, such as its next token,
/// within a bound for each user.
final class LongPolls: Sendable {
  /// One that waits.
  struct Hold {
    /// Comes when what it waits for has happened, when its time is over, or when its client goes.
    let end: EventLoopFuture<Void>
    /// Whether nobody else has waited for this identity since that last happened.
    let isFirst: Bool
  }

  private struct Waiter {
    let promise: EventLoopPromise<Void>
    let user: UInt32?
  }

  private struct State {
    /// By identity; an empty list where all who waited have gone.
    var waiters: [String: [UInt64: Waiter]] = [:]
    var counts: [UInt32?: Int] = [:]
    var last: UInt64 = 0

    mutating func uncount(_ user: UInt32?) {
      let rest = counts[user, default: 1] - 1
      counts[user] = rest == 0 ? nil : rest
    }
  }

  private let state = Mutex(State())
  private let bound: Int

  /// One user may wait that many times at once.
  init(perUser bound: Int) { self.bound = bound }

  /// Waits for the identity `name`, for `span` at most; nil when `user` waits too often already. A
  /// nil `user` counts as one of its own: systemd, on the credential socket.
  func hold(
    _ name: String, _ user: UInt32?, for span: Duration, _ ticket: Ticket, on loop: any EventLoop
  ) -> Hold? {
    let promise = loop.makePromise(of: Void.self)
    let entry = state.withLock { state -> (number: UInt64, isFirst: Bool)? in
      guard state.counts[user, default: 0] < bound else { return nil }
      state.counts[user, default: 0] += 1
      state.last += 1
      let isFirst = state.waiters[name] == nil
      state.waiters[name, default: [:]][state.last] = Waiter(promise: promise, user: user)
      return (state.last, isFirst)
    }
    guard let entry else {
      promise.succeed()
      return nil
    }
    let timeout = loop.scheduleTask(in: .microseconds(span.microseconds)) { promise.succeed() }
    ticket.onLeave { promise.succeed() }
    let end = promise.futureResult.always { _ in
      timeout.cancel()
      ticket.onLeave(nil)
      self.forget(name, entry.number)
    }
    return Hold(end: end, isFirst: entry.isFirst)
  }

  /// It has happened: lets all go who wait for `name`.
  func release(_ name: String) {
    let waiters = state.withLock { state in
      let waiters = state.waiters.removeValue(forKey: name) ?? [:]
      for waiter in waiters.values { state.uncount(waiter.user) }
      return waiters
    }
    for waiter in waiters.values { waiter.promise.succeed() }
  }

  /// Lets all go.
  func releaseAll() { for name in state.withLock({ Array($0.waiters.keys) }) { release(name) } }

  private func forget(_ name: String, _ number: UInt64) {
    state.withLock { state in
      guard let waiter = state.waiters[name]?.removeValue(forKey: number) else { return }
      state.uncount(waiter.user)
      // A dictionary keeps its memory: what a crowd took is given back.
      if state.waiters[name]?.isEmpty == true { state.waiters[name] = [:] }
    }
  }
}
