import DequeModule
import NIOCore
import Rotation
import Synchronization

/// What is done on the event loop for callers, in slices of time: beyond `Limits.slice`, the work
/// of one user after the other waits in line, while new connections are taken in and bytes are
/// moved. So the requests of a crowd do not stand before those of everybody else.
final class Slices: Sendable {
  typealias Work = @Sendable () -> Void

  private struct State {
    var lines: [UInt32: Deque<Work>] = [:]
    /// The users who have work, in the order of their turns.
    var order = Deque<UInt32>()
    /// How long was worked since the loop last came round.
    var spent = Duration.zero
    var isPlanned = false

    mutating func next() -> Work? {
      guard spent < Limits.slice, let user = order.popFirst() else { return nil }
      let work = lines[user]?.popFirst()
      if lines[user]?.isEmpty == true { lines[user] = nil } else { order.append(user) }
      return work
    }
  }

  private let state = Mutex(State())

  /// Does `work` now if there is time, and when the user's turn comes otherwise. On the event loop.
  func run(_ user: UInt32, on loop: any EventLoop, _ work: @escaping Work) {
    let (isNow, mustPlan) = state.withLock { state in
      let isNow = state.order.isEmpty && state.spent < Limits.slice
      if !isNow {
        if state.lines[user] == nil { state.order.append(user) }
        state.lines[user, default: []].append(work)
      }
      defer { state.isPlanned = true }
      return (isNow, !state.isPlanned)
    }
    if mustPlan { loop.execute { self.comeRound(on: loop) } }
    if isNow { measure(work) }
  }

  private func measure(_ work: Work) {
    let begin = ContinuousClock.now
    work()
    let took = ContinuousClock.now - begin
    state.withLock { $0.spent += took }
  }

  /// One slice of what waits.
  private func comeRound(on loop: any EventLoop) {
    state.withLock { state in
      state.spent = .zero
      state.isPlanned = false
    }
    while let work = state.withLock({ $0.next() }) { measure(work) }
    let mustPlan = state.withLock { state in
      guard !state.order.isEmpty, !state.isPlanned else { return false }
      state.isPlanned = true
      return true
    }
    if mustPlan { loop.execute { self.comeRound(on: loop) } }
  }
}
