import Dispatch
import Rotation

/// Carries out the jobs of deliveries, beside the main queue, and says what becomes of them.
@MainActor
final class DeliveryWorkers {
  /// What the daemon is to know, on the main queue.
  enum News {
    /// Results wait to be collected.
    case ended
    /// These jobs take too long, or wait behind one that does. Told at each check, even of none.
    case hanging([Job.ID])
    /// Somebody may have changed what is at these paths.
    case changed(Set<Path>)
    /// Not all folders can be watched for changes.
    case blind(Failure)
  }

  private let hear: @MainActor (News) -> Void
  private let workers: WorkerPool<DeliveryWork, Outcome>
  private let sockets = TokenSockets()
  private let watch: FolderWatch?
  private let mounts = MountTable()
  private let stallTimer = DispatchSource.makeTimerSource(queue: .main)
  private var isStallTimerArmed = false
  /// Jobs that were submitted and not collected.
  private var running = 0
  /// Folders that are still to be cleared of what a crash left there.
  private var sweeps = 0

  init(_ inotify: Inotify?, hear: @escaping @MainActor (News) -> Void) {
    self.hear = hear
    let tell: @Sendable (News) -> Void = { news in MainQueue.run { hear(news) } }
    let watch = inotify.map {
      FolderWatch($0, changed: { tell(.changed($0)) }, lacking: { tell(.blind($0)) })
    }
    self.watch = watch
    workers = WorkerPool(
      makeWorker: { [sockets] in
        var worker = DeliveryWorker(sockets, watch)
        return { worker.perform($0) }
      },
      notify: { tell(.ended) })
    if watch == nil {
      tell(
        .blind(
          Failure(
            "no folder can be watched (fs.inotify.max_user_instances): what others take away or "
              + "change is noticed only at the next rotation")))
    }
    stallTimer.schedule(deadline: .distantFuture)
    stallTimer.handleOnMain { self.checkStalled() }
    stallTimer.resume()
  }

  /// Whether left-over temporary files are still being removed.
  var isSweeping: Bool { sweeps > 0 }

  /// Takes over what the configuration says of places, and has the temporary files removed that a
  /// crash left beside them.
  func configure(_ settings: Settings) {
    let places = settings.deliveryLocations
    watch?.want(Set(places.lazy.map(\.delivery.path)))
    sockets.connections.keep(.tokens(listening: settings.listeningDeliveries))
    let work = DeliveryWork.sweeps(settings)
    sweeps += work.count
    submit(work)
    armStallTimer()
  }

  /// `work` are jobs of the rotator.
  func carryOut(_ work: [DeliveryWork]) {
    running += work.count
    submit(work)
    armStallTimer()
  }

  private func submit(_ work: [DeliveryWork]) {
    if work.isEmpty { return }
    mounts.refresh()
    workers.submit(work.map { ($0.place(mounts), $0) })
  }

  /// The jobs that ended, and how; and the names of the keys that failed to sign.
  func collect() -> (ended: [(job: Job.ID, outcome: Outcome)], failedKeys: Set<String>) {
    var ended: [(job: Job.ID, outcome: Outcome)] = []
    var failedKeys: Set<String> = []
    for (work, outcome) in workers.collect() {
      switch work {
      case .job(let job): ended.append((job.id, outcome))
      case .sign(let job):
        ended.append((job.id, outcome))
        if case .failed = outcome { failedKeys.insert(job.key) }
      case .sweep: sweeps = max(0, sweeps - 1)
      }
    }
    running -= ended.count
    return (ended, failedKeys)
  }

  // MARK: Hanging

  /// The timer for what hangs runs only while something is at work.
  private func armStallTimer() {
    let isNeeded = running > 0 || sweeps > 0
    guard isStallTimerArmed != isNeeded else { return }
    isStallTimerArmed = isNeeded
    let interval = Limits.stallTimeout.interval
    if isNeeded {
      stallTimer.schedule(deadline: .now() + interval, repeating: interval)
    } else {
      stallTimer.schedule(deadline: .distantFuture)
    }
  }

  private func checkStalled() {
    armStallTimer()
    // What was not told of, because more was expected to follow at once.
    hear(.ended)
    var hanging: [Job.ID] = []
    for work in workers.findStalled() {
      switch work {
      case .job(let job): hanging.append(job.id)
      case .sign(let job): hanging.append(job.id)
      case .sweep: sweeps = max(0, sweeps - 1)
      }
    }
    hear(.hanging(hanging))
  }

  // MARK: The end

  /// Drops what has not begun.
  func close() { workers.close() }

  /// What is left to do at the end, each of which can hang: the sockets' files, and what is at
  /// work.
  var shutdownWork: [@Sendable () -> Void] {
    [
      { [sockets] in sockets.closeAll() },
      { [workers] in workers.working.wait() },
    ]
  }
}
