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
    let site: Site
    let since = ContinuousClock.now
    var isHanging = false
  }

  /// A place where something waits or is being carried out.
  private final class Site {
    let place: WorkPlace
    let fileSystem: FileSystemLoad
    var waiting: Deque<Item> = []
    var load = Load()

    init(_ place: WorkPlace, _ fileSystem: FileSystemLoad) {
      self.place = place
      self.fileSystem = fileSystem
      fileSystem.sites += 1
    }

    var isHeldUp: Bool {
      load.hanging > 0 || fileSystem.load.hanging >= Limits.hangingOfOneFileSystem
    }
  }

  /// What all places of one file system share; `sites` counts them.
  private final class FileSystemLoad {
    var sites = 0
    var load = Load()
  }

  /// What is being carried out, and how much of it hangs.
  private struct Load {
    var running = 0
    var hanging = 0
  }

  private struct State {
    var sites: [WorkPlace: Site] = [:]
    var fileSystems: [String: FileSystemLoad] = [:]
    /// The places where something waits, each once; the next in turn comes first.
    var turns: Deque<Site> = []
    /// What each worker is at; nil while it has nothing to do.
    var workers: [Running?] = []
    var idle: [Int] = []
    var results: [(work: Work, result: Result)] = []
    /// Whether it was told that results wait.
    var isNotified = false
    var isClosed = false

    mutating func site(_ place: WorkPlace) -> Site {
      if let site = sites[place] { return site }
      let fileSystem = fileSystems[place.fileSystem] ?? FileSystemLoad()
      fileSystems[place.fileSystem] = fileSystem
      let site = Site(place, fileSystem)
      sites[place] = site
      return site
    }

    /// Forgets a place where nothing is to be done any more.
    mutating func tidy(_ site: Site) {
      guard site.waiting.isEmpty, site.load.running == 0 else { return }
      sites[site.place] = nil
      site.fileSystem.sites -= 1
      if site.fileSystem.sites == 0 { fileSystems[site.place.fileSystem] = nil }
    }
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
        let site = state.site(place)
        if site.waiting.isEmpty { state.turns.append(site) }
        site.waiting.append(Item(work: work))
      }
      activate(&state)
    }
  }

  /// Takes the results that came in.
  func collect() -> [(work: Work, result: Result)] {
    state.withLock { state in
      defer { state.results = [] }
      state.isNotified = false
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
        now.site.load.hanging += 1
        now.site.fileSystem.load.hanging += 1
        if !now.item.isReported { found.append(now.item.work) }
      }
      for site in state.turns where site.isHeldUp {
        for index in site.waiting.indices where !site.waiting[index].isReported {
          site.waiting[index].isReported = true
          found.append(site.waiting[index].work)
        }
      }
      activate(&state)
      return found
    }
  }

  /// Drops what has not begun and takes no more.
  func close() {
    state.withLock { state in
      state.isClosed = true
      for site in state.turns {
        site.waiting = []
        state.tidy(site)
      }
      state.turns = []
    }
  }

  /// Sets idle workers to work, and makes new ones as the limits allow.
  private func activate(_ state: inout State) {
    while state.idle.count > 0 || state.workers.count < Limits.workersInAll,
      let (item, site) = takeNext(&state)
    {
      if state.idle.isEmpty {
        state.idle.append(state.workers.count)
        state.workers.append(nil)
      }
      let worker = state.idle.removeLast()
      state.workers[worker] = Running(item: item, site: site)
      Threads.run(in: working) { self.work(on: worker, item.work) }
    }
  }

  /// The next piece of work that may begin, place by place in turn.
  private func takeNext(_ state: inout State) -> (Item, Site)? {
    for _ in 0..<state.turns.count {
      guard let site = state.turns.popFirst() else { return nil }
      let load = site.fileSystem.load
      guard !site.isHeldUp, load.running - load.hanging < Limits.workersOfOneFileSystem,
        let item = site.waiting.popFirst()
      else {
        state.turns.append(site)
        continue
      }
      site.load.running += 1
      site.fileSystem.load.running += 1
      if !site.waiting.isEmpty { state.turns.append(site) }
      return (item, site)
    }
    return nil
  }

  private func leave(_ running: Running, _ state: inout State) {
    let site = running.site
    site.load.running -= 1
    site.fileSystem.load.running -= 1
    if running.isHanging {
      site.load.hanging -= 1
      site.fileSystem.load.hanging -= 1
    }
    state.tidy(site)
  }

  private func work(on worker: Int, _ first: Work) {
    let perform = makeWorker()
    var work: Work? = first
    while let now = work { work = exchange((now, perform(now)), on: worker) }
  }

  /// Hands in a result and takes the next piece of work; nil when there is none.
  private func exchange(_ finished: (Work, Result), on worker: Int) -> Work? {
    let (next, mustNotify) = state.withLock { state -> (Work?, Bool) in
      state.results.append(finished)
      if let now = state.workers[worker] { leave(now, &state) }
      let following = takeNext(&state)
      state.workers[worker] = following.map { Running(item: $0.0, site: $0.1) }
      if following == nil { state.idle.append(worker) }
      // A place that hung may have more to do than this worker.
      activate(&state)
      // Where nothing is expected to hang, a few results are told of together: the next is near.
      let mayWait =
        following?.1.place.isInMemory == true && state.results.count < Limits.resultsAtOnce
      let mustNotify = !state.isNotified && !mayWait
      if mustNotify { state.isNotified = true }
      return (following?.0.work, mustNotify)
    }
    if mustNotify { notify() }
    return next
  }
}
