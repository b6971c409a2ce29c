import DequeModule
import Dispatch
import Rotation
import Synchronization

/// Carries out work that can hang, on a few workers for each file system and not on the caller's
/// thread. What hangs holds up its own place; its whole file system only when much hangs there.
final class WorkerPool<Work: Sendable, Result: Sendable>: Sendable {
  /// What one worker does with each piece of work.
  typealias Perform = (Work) -> Result

  private struct Item {
    let work: Work
    /// Whether it was said to hang.
    var isReported = false
  }

  private struct Running {
    let item: Item
    let place: WorkPlace
    let since = ContinuousClock.now
    var isHanging = false
  }

  private struct Site {
    var waiting: Deque<Item> = []
    var load = Load()
  }

  /// What is being carried out, and how much of it hangs.
  private struct Load {
    var running = 0
    var hanging = 0
  }

  private struct State {
    var sites: [WorkPlace: Site] = [:]
    var fileSystems: [String: Load] = [:]
    /// The places where something waits, each once; the next in turn comes first.
    var turns: Deque<WorkPlace> = []
    /// What each worker is at; nil while it has nothing to do.
    var workers: [Running?] = []
    var idle: [Int] = []
    var results: [(work: Work, result: Result)] = []
    var isClosed = false
  }

  private let state = Mutex(State())
  /// The workers that are at work, to be waited for.
  let working = DispatchGroup()
  private let makeWorker: @Sendable () -> Perform
  private let notify: @Sendable () -> Void

  /// `makeWorker` is called on a worker that begins, and what it gives until the worker has
  /// nothing to do. `notify` is called on a worker when results wait to be collected.
  init(
    makeWorker: @escaping @Sendable () -> Perform,
    notify: @escaping @Sendable () -> Void
  ) {
    self.makeWorker = makeWorker
    self.notify = notify
  }

  /// Takes work over. What is at one place begins in this order; results come through `collect`.
  func submit(_ works: [(place: WorkPlace, work: Work)]) {
    state.withLock { state in
      guard !state.isClosed else { return }
      for (place, work) in works {
        if state.sites[place, default: Site()].waiting.isEmpty { state.turns.append(place) }
        state.sites[place, default: Site()].waiting.append(Item(work: work))
      }
      activate(&state)
    }
  }

  /// Takes the results that came in.
  func collect() -> [(work: Work, result: Result)] {
    state.withLock { state in
      defer { state.results = [] }
      return state.results
    }
  }

  /// Finds what takes longer than `Limits.stallTimeout`, and what waits behind it: nothing more
  /// begins there until that comes back. Each is returned once.
  func findStalled() -> [Work] {
    state.withLock { state in
      var found: [Work] = []
      for index in state.workers.indices {
        guard let now = state.workers[index], !now.isHanging,
          ContinuousClock.now - now.since >= Limits.stallTimeout
        else { continue }
        state.workers[index]?.isHanging = true
        state.sites[now.place]?.load.hanging += 1
        state.fileSystems[now.place.fileSystem]?.hanging += 1
        if !now.item.isReported { found.append(now.item.work) }
      }
      for place in state.turns where isHeldUp(place, state) {
        guard var site = state.sites[place] else { continue }
        for index in site.waiting.indices where !site.waiting[index].isReported {
          site.waiting[index].isReported = true
          found.append(site.waiting[index].work)
        }
        state.sites[place] = site
      }
      activate(&state)
      return found
    }
  }

  /// Drops what has not begun and takes no more.
  func close() {
    state.withLock { state in
      state.isClosed = true
      for place in state.turns { state.sites[place]?.waiting = [] }
      state.turns = []
    }
  }

  /// Sets idle workers to work, and makes new ones as the limits allow.
  private func activate(_ state: inout State) {
    while state.idle.count > 0 || state.workers.count < Limits.workersInAll,
      let (item, place) = takeNext(&state)
    {
      if state.idle.isEmpty {
        state.idle.append(state.workers.count)
        state.workers.append(nil)
      }
      let worker = state.idle.removeLast()
      state.workers[worker] = Running(item: item, place: place)
      Threads.run(in: working) { self.work(on: worker, item.work) }
    }
  }

  private func isHeldUp(_ place: WorkPlace, _ state: State) -> Bool {
    (state.sites[place]?.load.hanging ?? 0) > 0
      || (state.fileSystems[place.fileSystem]?.hanging ?? 0) >= Limits.hangingOfOneFileSystem
  }

  /// The next piece of work that may begin, place by place in turn.
  private func takeNext(_ state: inout State) -> (Item, WorkPlace)? {
    for _ in 0..<state.turns.count {
      guard let place = state.turns.popFirst() else { return nil }
      var load = state.fileSystems[place.fileSystem] ?? Load()
      guard !isHeldUp(place, state),
        load.running - load.hanging < Limits.workersOfOneFileSystem,
        // In place: a copy of what waits would cost its length each time.
        let item = state.sites[place]?.waiting.popFirst()
      else {
        state.turns.append(place)
        continue
      }
      state.sites[place]?.load.running += 1
      load.running += 1
      state.fileSystems[place.fileSystem] = load
      if state.sites[place]?.waiting.isEmpty == false { state.turns.append(place) }
      return (item, place)
    }
    return nil
  }

  private func leave(_ running: Running, _ state: inout State) {
    let (place, isHanging) = (running.place, running.isHanging)
    state.sites[place]?.load.running -= 1
    if isHanging { state.sites[place]?.load.hanging -= 1 }
    if let site = state.sites[place], site.waiting.isEmpty, site.load.running == 0 {
      state.sites[place] = nil
    }
    if var load = state.fileSystems[place.fileSystem] {
      load.running -= 1
      if isHanging { load.hanging -= 1 }
      state.fileSystems[place.fileSystem] = load.running == 0 ? nil : load
    }
  }

  private func work(on worker: Int, _ first: Work) {
    let perform = makeWorker()
    var work: Work? = first
    while let now = work { work = exchange((now, perform(now)), on: worker) }
  }

  /// Hands in a result and takes the next piece of work; nil when there is none.
  private func exchange(_ finished: (Work, Result), on worker: Int) -> Work? {
    let (next, isFirst) = state.withLock { state -> (Work?, Bool) in
      let isFirst = state.results.isEmpty
      state.results.append(finished)
      if let now = state.workers[worker] { leave(now, &state) }
      let following = takeNext(&state)
      state.workers[worker] = following.map { Running(item: $0.0, place: $0.1) }
      if following == nil { state.idle.append(worker) }
      // A place that hung may have more to do than this worker.
      activate(&state)
      return (following?.0.work, isFirst)
    }
    if isFirst { notify() }
    return next
  }
}
