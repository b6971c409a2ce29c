import CLinux
import DequeModule
import Dispatch
import Glibc
import Rotation
import Synchronization

/// The threads for what can hang, and for what would hold up the main queue: as many as are at work
/// at once, and for a moment longer. Dispatch would keep each thread that one busy moment took, for
/// as long as there is work now and then, because it wakes those that rest in turn; here the one
/// that rested last goes on, and the others end.
enum Threads {
  typealias Work = @Sendable () -> Void

  private struct State {
    /// The last came last. Nobody rests while something waits.
    var resting: [Worker] = []
    /// What no thread could be had for (pthread_create(3), EAGAIN), and since when that is so.
    var waiting: Deque<Work> = []
    var refusedSince: ContinuousClock.Instant?
    var isRetryPlanned = false
  }

  private static let state = Mutex(State())

  /// Does `work` at once, on a thread of its own until it ends, and counts it in `group` until
  /// then. Where the host gives no thread, it begins when other work ends, or when a thread is
  /// given: the main queue asks once in `Limits.threadRetry`; where nobody serves that, the caller
  /// asks, until the host has refused for `Limits.threadPatience`. May be called on any thread.
  static func run(in group: DispatchGroup? = nil, _ work: @escaping Work) {
    guard let group else { return begin(work) }
    group.enter()
    begin {
      work()
      group.leave()
    }
  }

  private static func begin(_ work: @escaping Work) {
    let (worker, mustLook) = state.withLock { ($0.resting.popLast(), !$0.waiting.isEmpty) }
    if let worker { return worker.give(work) }
    guard start(Worker(work)) else { return wait(work) }
    if mustLook { _ = startWaiting() }
  }

  /// False when the host gives no thread.
  private static func start(_ worker: Worker) -> Bool {
    let argument = unsafe Unmanaged.passRetained(worker).toOpaque()
    if unsafe linux_start_thread({ unsafe Threads.live($0!) }, argument) == 0 { return true }
    unsafe Unmanaged<Worker>.fromOpaque(argument).release()
    return false
  }

  // MARK: When the host gives no thread

  private static func wait(_ work: @escaping Work) {
    let (worker, since) = state.withLock { state -> (Worker?, ContinuousClock.Instant) in
      let since = state.refusedSince ?? .now
      if let worker = state.resting.popLast() { return (worker, since) }
      state.waiting.append(work)
      state.refusedSince = since
      return (nil, since)
    }
    if let worker { return worker.give(work) }
    if MainQueue.isServed { return planRetry() }
    while ContinuousClock.now - since < Limits.threadPatience {
      usleep(5_000)
      if startWaiting() { return }
    }
  }

  /// Gives threads to what waits, as far as the host has some. False when something still waits.
  private static func startWaiting() -> Bool {
    state.withLock { state in
      while let work = state.waiting.first {
        guard start(Worker(work)) else { return false }
        state.waiting.removeFirst()
      }
      state.refusedSince = nil
      return true
    }
  }

  private static func planRetry() {
    let isPlanned = state.withLock { state in
      defer { state.isRetryPlanned = true }
      return state.isRetryPlanned
    }
    if isPlanned { return }
    MainQueue.run(after: Limits.threadRetry) {
      state.withLock { $0.isRetryPlanned = false }
      if !startWaiting() { planRetry() }
    }
  }

  // MARK: One thread

  /// The whole life of a thread; `argument` is its `Worker`, retained.
  private static func live(_ argument: UnsafeMutableRawPointer) {
    let worker = unsafe Unmanaged<Worker>.fromOpaque(argument).takeRetainedValue()
    repeat { worker.work() } while rest(worker)
  }

  /// Waits for work, for `Limits.threadRest`. False when none came.
  private static func rest(_ worker: Worker) -> Bool {
    let isResting = state.withLock { state in
      if let work = state.waiting.popFirst() {
        if state.waiting.isEmpty { state.refusedSince = nil }
        worker.take(work)
        return false
      }
      state.resting.append(worker)
      return true
    }
    guard isResting, worker.isGivenNothing(for: Limits.threadRest) else { return true }
    let isOver = state.withLock { state in
      guard let index = state.resting.firstIndex(where: { $0 === worker }) else { return false }
      state.resting.remove(at: index)
      return true
    }
    // Somebody took it in this moment, and is about to give it work.
    if !isOver { worker.wait() }
    return !isOver
  }

  /// One thread, and what it does next.
  private final class Worker: Sendable {
    private let next: Mutex<Work?>
    private let isGiven = DispatchSemaphore(value: 0)

    init(_ first: @escaping Work) { next = Mutex(first) }

    /// Gives it work from another thread, while it rests.
    func give(_ work: @escaping Work) {
      take(work)
      isGiven.signal()
    }

    func take(_ work: @escaping Work) { next.withLock { $0 = work } }

    func wait() { isGiven.wait() }

    func isGivenNothing(for limit: Duration) -> Bool {
      isGiven.wait(timeout: .now() + limit.interval) == .timedOut
    }

    /// Does what it was given, and lets go of it.
    func work() { next.withLock { $0.take() }?() }
  }
}
