import Synchronization

/// What a connection's request waits with, be it held or in line for its turn, so that it can be
/// let go when its client goes. Used by one connection alone, on the event loop.
final class Ticket: Sendable {
  private let leaving = Mutex<(@Sendable () -> Void)?>(nil)
  private let left = Atomic(false)

  /// Whether the client has gone.
  var hasLeft: Bool { left.load(ordering: .relaxed) }

  /// Sets what happens when the client goes; nil once nothing waits any more.
  func onLeave(_ action: (@Sendable () -> Void)?) { leaving.withLock { $0 = action } }

  /// Ends the wait, if there is one.
  func letGo() {
    left.store(true, ordering: .relaxed)
    leaving.withLock { $0 }?()
  }
}
