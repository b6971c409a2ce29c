import DequeModule
import Dispatch
import Rotation
import Synchronization

/// Runs delivery jobs beside the rotator, so that none waits for a disk: a few lanes take jobs
/// from one queue. A lane whose job does not come back is replaced by another, up to a bound.
final class DeliveryLanes: Sendable {
  typealias Outcome = (job: Job.ID, failure: Failure?)

  private struct Lane {
    // A private serial queue: a thread while it has work, none when idle, and not libdispatch's
    // pool monitor, which would wake once a second for ever.
    let queue: DispatchQueue
    var job: (id: Job.ID, since: ContinuousClock.Instant)?
    var isActive = false
    var isHanging = false
  }

  private struct State {
    var jobs: Deque<Job> = []
    var lanes: [Lane] = []
    var outcomes: [Outcome] = []
    var isClosed = false
  }

  private let state = Mutex(State())
  private let sockets: TokenSockets
  private let notify: @Sendable () -> Void

  /// `notify` is called on a lane when outcomes wait to be collected.
  init(_ sockets: TokenSockets, notify: @escaping @Sendable () -> Void) {
    self.sockets = sockets
    self.notify = notify
  }

  /// Takes jobs over, in this order. Their outcomes come through `collect`, in any order.
  func submit(_ jobs: [Job]) {
    state.withLock { state in
      guard !state.isClosed else { return }
      state.jobs += jobs
      activate(&state)
    }
  }

  /// Takes the outcomes that came in.
  func collect() -> [Outcome] {
    state.withLock { state in
      defer { state.outcomes = [] }
      return state.outcomes
    }
  }

  /// Whether a job is at work.
  var isWorking: Bool { state.withLock { $0.lanes.contains(where: \.isActive) } }

  /// Finds the lanes whose job takes longer than `Limits.patience`, opens others in their place,
  /// and returns the jobs that were not known as hanging before.
  func findHanging() -> [Job.ID] {
    state.withLock { state in
      var found: [Job.ID] = []
      for index in state.lanes.indices where !state.lanes[index].isHanging {
        guard let job = state.lanes[index].job,
          ContinuousClock.now - job.since >= Limits.patience
        else { continue }
        state.lanes[index].isHanging = true
        found.append(job.id)
      }
      activate(&state)
      return found
    }
  }

  /// Drops the jobs that have not begun and takes no more.
  func close() {
    state.withLock { state in
      state.isClosed = true
      state.jobs = []
    }
  }

  /// Sets idle lanes to work, as many as there are jobs for and the limits allow.
  private func activate(_ state: inout State) {
    var wanted = state.jobs.count
    for index in state.lanes.indices where wanted > 0 && !state.lanes[index].isActive {
      start(index, &state)
      wanted -= 1
    }
    while wanted > 0, state.lanes.count < Limits.lanesInAll,
      state.lanes.count(where: { !$0.isHanging }) < Limits.lanes
    {
      state.lanes.append(Lane(queue: DispatchQueue(label: "jotd.delivery.\(state.lanes.count)")))
      start(state.lanes.count - 1, &state)
      wanted -= 1
    }
  }

  private func start(_ index: Int, _ state: inout State) {
    state.lanes[index].isActive = true
    state.lanes[index].queue.async { self.work(on: index) }
  }

  private func work(on lane: Int) {
    var postman = Postman(sockets)
    var finished: Outcome?
    while let job = exchange(finished, on: lane) {
      finished = (job.id, postman.perform(job))
    }
  }

  /// Hands in the outcome of the last job and takes the next; nil when there is none.
  private func exchange(_ finished: Outcome?, on lane: Int) -> Job? {
    let (next, isFirst) = state.withLock { state -> (Job?, Bool) in
      let isFirst = finished != nil && state.outcomes.isEmpty
      if let finished { state.outcomes.append(finished) }
      state.lanes[lane].isHanging = false
      let next = state.jobs.popFirst()
      state.lanes[lane].job = next.map { ($0.id, .now) }
      state.lanes[lane].isActive = next != nil
      return (next, isFirst)
    }
    if isFirst { notify() }
    return next
  }
}
