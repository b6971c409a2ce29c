import DequeModule
import Dispatch
import Rotation
import Synchronization

/// Items that are told to somebody who may be slow to listen: one after the other, on another
/// thread, and a bounded number of them. What is too much is dropped, and counted.
final class Outbox<Item: Sendable>: Sendable {
  /// How many items may wait.
  struct Bounds {
    /// While the listener takes one after the other.
    let burst: Int
    /// Once it has not taken one for `Limits.stallTimeout`, and when jotd ends: what is more then
    /// is dropped, too.
    let stuck: Int
    /// How many are told at once, where so many wait.
    let atOnce: Int
  }

  private struct State {
    var waiting = Deque<Item>()
    var dropped = 0
    /// The most that waited since all was told.
    var peak = 0
    /// When what is being told now was begun; nil while nothing is. While the machine
    /// sleeps, nobody is slow.
    var since: SuspendingClock.Instant?

    /// Whether the listener takes nothing.
    var isStuck: Bool {
      since.map { SuspendingClock.now - $0 >= Limits.stallTimeout } ?? false
    }

    /// Keeps some of what waits.
    mutating func keep(_ kept: Deque<Item>.SubSequence) {
      dropped += waiting.count - kept.count
      waiting = Deque(kept)
    }
  }

  /// What is being told, to be waited for.
  private let telling = DispatchGroup()
  private let bounds: Bounds
  private let tell: @Sendable ([Item], _ begin: () -> Void) -> Void
  private let overflow: @Sendable (_ dropped: Int) -> Void
  private let state = Mutex(State())

  /// `tell` is called with what waits, in its order, and is to call `begin` before each part that
  /// the listener takes by itself; `overflow` when all is told and some were dropped. Both run on
  /// that other thread.
  init(
    _ bounds: Bounds, tell: @escaping @Sendable ([Item], _ begin: () -> Void) -> Void,
    overflow: @escaping @Sendable (_ dropped: Int) -> Void = { _ in }
  ) {
    self.bounds = bounds
    self.tell = tell
    self.overflow = overflow
  }

  /// Has `items` told in their turn, but for those that are too many.
  func put(_ items: [Item]) {
    if items.isEmpty { return }
    let mustBegin = state.withLock { state in
      let count = state.waiting.count
      let isStuck = count + items.count > bounds.stuck && state.isStuck
      if isStuck, count > bounds.stuck { state.keep(state.waiting.prefix(bounds.stuck)) }
      let room = (isStuck ? bounds.stuck : bounds.burst) - state.waiting.count
      let taken = items.prefix(max(0, room))
      state.dropped += items.count - taken.count
      state.waiting.append(contentsOf: taken)
      state.peak = max(state.peak, state.waiting.count)
      guard state.since == nil, !state.waiting.isEmpty else { return false }
      state.since = .now
      // Here, so that `flush` waits for it.
      telling.enter()
      return true
    }
    if mustBegin { Threads.run { self.work() } }
  }

  private func work() {
    while let items = takeNext() {
      tell(items) { state.withLock { $0.since = .now } }
    }
    telling.leave()
  }

  /// The next items; nil, and the thread has nothing to do, when all is told.
  private func takeNext() -> [Item]? {
    while true {
      let (items, dropped) = state.withLock { state -> ([Item]?, Int) in
        if !state.waiting.isEmpty {
          let items = Array(state.waiting.prefix(bounds.atOnce))
          state.waiting.removeFirst(items.count)
          state.since = .now
          return (items, 0)
        }
        defer { state.dropped = 0 }
        if state.dropped == 0 {
          state.since = nil
          // What a burst took is given back.
          if state.peak > bounds.stuck { Hardening.trimMemorySoon() }
          state.peak = 0
          state.waiting = []
        }
        return (nil, state.dropped)
      }
      if let items { return items }
      if dropped == 0 { return nil }
      overflow(dropped)
    }
  }

  /// Waits until all is told, or for `limit`. Of many, only the last are told, because the limit is
  /// short and the last matter most.
  func flush(within limit: Duration) {
    state.withLock { state in
      if state.waiting.count > bounds.stuck { state.keep(state.waiting.suffix(bounds.stuck)) }
    }
    _ = telling.wait(timeout: .now() + limit.interval)
  }
}
