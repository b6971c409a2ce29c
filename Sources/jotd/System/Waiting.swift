import Dispatch
import Rotation
import Synchronization

/// Calls `work`, which can hang, on a thread of its own and waits for what it gives, for `limit` at
/// most. Nil after that: then `late` gets it, on that thread, when it comes back after all.
func waiting<Value: Sendable>(
  for limit: Duration, _ work: @escaping @Sendable () -> Value,
  late: @escaping @Sendable (Value) -> Void = { _ in }
) -> Value? {
  let slot = Slot<Value>()
  let done = DispatchSemaphore(value: 0)
  let end = DispatchTime.now() + limit.interval
  Threads.run {
    let value = work()
    if slot.put(value) { done.signal() } else { late(value) }
  }
  _ = done.wait(timeout: end)
  return slot.close()
}

/// Where one value is handed from one thread to another, unless that has stopped waiting.
private final class Slot<Value: Sendable>: Sendable {
  private let state = Mutex<(value: Value?, isClosed: Bool)>((nil, false))

  /// False when nobody waits any more.
  func put(_ value: Value) -> Bool {
    state.withLock { state in
      guard !state.isClosed else { return false }
      state.value = value
      return true
    }
  }

  func close() -> Value? {
    state.withLock { state in
      state.isClosed = true
      return state.value
    }
  }
}
