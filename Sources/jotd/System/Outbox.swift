import Dispatch
import Rotation
import Synchronization

/// What is told to somebody who may be slow to listen: one after the other on a queue of its own, a
/// bounded number of them. What comes when that many wait is dropped, and counted.
final class Outbox: Sendable {
  private struct State {
    var waiting = 0
    var dropped = 0
  }

  private let queue: DispatchQueue
  private let bound: Int
  private let overflow: @Sendable (_ dropped: Int) -> Void
  private let state = Mutex(State())

  /// At most `bound` wait. `overflow` is called, in its turn, when all is told and some were
  /// dropped.
  init(
    _ label: String, bound: Int, overflow: @escaping @Sendable (_ dropped: Int) -> Void = { _ in }
  ) {
    queue = DispatchQueue(label: label)
    self.bound = bound
    self.overflow = overflow
  }

  /// Calls `tell` in its turn, on the queue; or never, if too many wait.
  func put(_ tell: @escaping @Sendable () -> Void) {
    let isFull = state.withLock { state in
      if state.waiting >= bound {
        state.dropped += 1
        return true
      }
      state.waiting += 1
      return false
    }
    if isFull { return }
    queue.async { [self] in
      tell()
      let dropped = state.withLock { state in
        state.waiting -= 1
        defer { if state.waiting == 0 { state.dropped = 0 } }
        return state.waiting == 0 ? state.dropped : 0
      }
      if dropped > 0 { overflow(dropped) }
    }
  }

  /// Waits until all is told, or for `limit`.
  func flush(within limit: Duration) {
    let done = DispatchSemaphore(value: 0)
    queue.async { done.signal() }
    _ = done.wait(timeout: .now() + limit.interval)
  }
}
