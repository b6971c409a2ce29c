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
    /// The last came last.
    var resting: [Worker] = []
    /// What no thread could be had for (pthread_create(3), EAGAIN).
    var waiting: Deque<Work> = []
    var isRetryPlanned = false
  }

  private static let state = Mutex(State())

  /// Does `work` at once, on a thread of its own until it ends, and counts it in `group` until
  /// then. Where the host gives no thread, it begins when other work ends, or when a thread is
  /// given, which is asked for once in `Limits.threadRetry`. May be called on any thread; where the
  /// main queue is not served, it may take that long.
  static func run(in group: DispatchGroup? = nil, _ work: @escaping Work) {
    guard let group else { return begin(work) }
    group.enter()
    begin {
      work()
      group.leave()
    }
  }

  private static func begin(_ work: @escaping Work) {
    if let worker = state.withLock({ $0.resting.popLast() }) { return worker.give(work) }
    if start(Worker(work)) { return }
    // Nobody would ask again later: so the caller does, for a moment.
    if !MainQueue.isServed, persists(work) { return }
    wait(work)
  }

  /// Asks for a thread again and again. False when none is given within `Limits.threadRetry`.
  private static func persists(_ work: @escaping Work) -> Bool {
    let end = ContinuousClock.now + Limits.threadRetry
    while ContinuousClock.now < end {
      usleep(10_000)
      if start(Worker(work)) { return true }
    }
    return false
  }

  /// False when the host gives no thread.
  private static func start(_ worker: Worker) -> Bool {
    let argument = unsafe Unmanaged.passRetained(worker).toOpaque()
    if unsafe linux_start_thread({ unsafe Threads.live($0!) }, argument) == 0 { return true }
    unsafe Unmanaged<Worker>.fromOpaque(argument).release()
    return false
  }

  /// The whole life of a thread; `argument` is its `Worker`, retained.
  private static func live(_ argument: UnsafeMutableRawPointer) {
    let worker = unsafe Unmanaged<Worker>.fromOpaque(argument).takeRetainedValue()
    repeat { worker.work() } while rest(worker)
  }

  /// Waits for work, for `Limits.threadRest`. False when none came.
  private static func rest(_ worker: Worker) -> Bool {
    let isResting = state.withLock { state in
      if let work = state.waiting.popFirst() {
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

  private static func wait(_ work: @escaping Work) {
    let (worker, mustPlan) = state.withLock { state -> (Worker?, Bool) in
      // While something waits, nobody rests.
      if let worker = state.resting.popLast() { return (worker, false) }
      state.waiting.append(work)
      defer { state.isRetryPlanned = true }
      return (nil, !state.isRetryPlanned)
    }
    worker?.give(work)
    if mustPlan { MainQueue.run(after: Limits.threadRetry) { retry() } }
  }

  private static func retry() {
    let work = state.withLock { state in
      state.isRetryPlanned = false
      let all = state.waiting
      state.waiting = []
      return all
    }
    for work in work { begin(work) }
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
