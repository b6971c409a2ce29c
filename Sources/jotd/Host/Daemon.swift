import Dispatch
import Glibc
import Logging
import Rotation

/// The rotator's host: gives it time, keys and answers, and carries out its orders. Everything
/// happens on the main queue but the deliveries and the writing of the journal.
@MainActor
final class Daemon {
  private let path: String
  private let journal: Journal
  private let log: Logger
  private let systemd = ServiceManager()
  private var clock: WallClock!
  private var lanes: DeliveryLanes!
  private var rotator: Rotator
  private var secret: SecretKeeper
  private var signals: [any DispatchSourceSignal] = []
  private let patience = DispatchSource.makeTimerSource(queue: .main)
  private var isPatienceArmed = false
  /// READY=1 is owed: at the start, and after a reload.
  private var owesReady = true
  private var isReady = false
  private var isStopping = false

  /// Settings, signer and warnings come from `Preparation`.
  init(_ path: String, _ prepared: Preparation, _ journal: Journal) throws(Failure) {
    self.path = path
    self.journal = journal
    log = Logger(label: "jotd") { _ in JournalHandler(journal) }
    rotator = Rotator(signer: prepared.signer)
    secret = SecretKeeper(prepared.reader, seen: prepared.fingerprint)
    lanes = DeliveryLanes { [weak self] in
      DispatchQueue.main.async { MainActor.assumeIsolated { self?.turn() } }
    }
    clock = try WallClock { [weak self] step in self?.wake(step) }
  }

  /// Delivers what is due and comes back; the rest happens on the main queue.
  func start(_ prepared: Preparation) {
    watchSignals()
    patience.setEventHandler { MainActor.assumeIsolated { self.losePatience() } }
    patience.schedule(deadline: .distantFuture)
    patience.resume()
    systemd.keepWatchdog()
    log.report(.started(version: version, identities: prepared.settings.identities.count))
    for warning in prepared.warnings { log.report(.warning(warning)) }
    secret.watch { [weak self] in self?.turn() }
    // Armed before the time is first read, so that no setting of the clock is missed.
    _ = clock.arm(nil)
    rotator.apply(prepared.settings.identities, at: .now)
    takeStock(prepared.settings)
    turn()
  }

  /// The one place that drives the rotator: collects outcomes, advances, and sleeps again.
  private func turn() {
    guard !isStopping else { return }
    refreshKey()
    var random = SystemRandomNumberGenerator()
    for outcome in lanes.collect() {
      rotator.finish(outcome.job, outcome.failure, at: .now, random: &random)
    }
    rotator.advance(to: .now, random: &random)
    carryOut(rotator.takeOrders())
    announce()
    let next = [rotator.nextWake, secret.retryAt].compactMap(\.self).min()
    if let step = clock.arm(next) { wake(step) }
  }

  private func wake(_ step: Duration?) {
    if let step { rotator.clockWasSet(by: step, to: .now) }
    turn()
  }

  private func carryOut(_ orders: [Order]) {
    var jobs: [Job] = []
    for order in orders {
      switch order {
      case .run(let job): jobs.append(job)
      case .report(let event): log.report(event)
      }
    }
    if !jobs.isEmpty { lanes.submit(jobs) }
    armPatience()
  }

  // MARK: Hanging deliveries

  /// The timer for hanging deliveries runs only while there are deliveries.
  private func armPatience() {
    guard isPatienceArmed != (rotator.running > 0) else { return }
    isPatienceArmed = rotator.running > 0
    let interval = Int(Limits.patience.microseconds)
    if isPatienceArmed {
      patience.schedule(
        deadline: .now() + .microseconds(interval), repeating: .microseconds(interval))
    } else {
      patience.schedule(deadline: .distantFuture)
    }
  }

  private func losePatience() {
    for job in lanes.findHanging() { rotator.noteHanging(job, at: .now) }
    turn()
  }

  // MARK: What changes from outside

  private func refreshKey() {
    guard let news = secret.look(at: .now) else { return }
    switch news {
    case .failed(let failure): log.report(.secretUnreadable(failure))
    case .read(let signer, let warnings, let hadFailed):
      if hadFailed { log.report(.secretReadable) }
      for warning in warnings { log.report(.warning(warning)) }
      rotator.use(signer, at: .now)
    }
  }

  /// Applies the configuration files as they are now, whole or not at all.
  private func reload() {
    systemd.reloading()
    owesReady = true
    defer { turn() }
    let prepared: Preparation
    do { prepared = try Preparation(path) } catch {
      log.report(.reloadRefused(error.description))
      return
    }
    for warning in prepared.warnings { log.report(.warning(warning)) }
    secret = SecretKeeper(prepared.reader, seen: prepared.fingerprint)
    secret.watch { [weak self] in self?.turn() }
    rotator.use(prepared.signer, at: .now)
    let changes = rotator.apply(prepared.settings.identities, at: .now)
    log.report(.reloaded(changes))
    takeStock(prepared.settings)
  }

  private func takeStock(_ settings: Settings) {
    var postman = Postman()
    rotator.takeStock(at: .now) { postman.content(at: $0) }
    if rotator.running == 0 { Postman.sweep(settings.deliveryPlaces.lazy.map(\.delivery)) }
    Hardening.trimMemory()
  }

  private func announce() {
    if owesReady, rotator.unsettled == 0 {
      owesReady = false
      if !isReady { log.report(.ready(identities: rotator.count)) }
      isReady = true
      systemd.ready()
    }
    let failing =
      rotator.failing > 0
      ? "\(rotator.failing) failing" : rotator.unsettled > 0 ? "delivering" : "all delivered"
    let next = rotator.nextWake.map { "; next rotation \($0.rfc3339)" } ?? ""
    systemd.status("\(counted(rotator.count, "identity")), \(failing)\(next)")
  }

  // MARK: Signals

  private func watchSignals() {
    for (number, name) in [(SIGTERM, "SIGTERM"), (SIGINT, "SIGINT"), (SIGHUP, "SIGHUP")] {
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .main)
      source.setEventHandler {
        MainActor.assumeIsolated { number == SIGHUP ? self.reload() : self.stop(name) }
      }
      source.resume()
      signals.append(source)
    }
  }

  /// Lets running deliveries end, for a bounded time, and exits.
  private func stop(_ signal: String) {
    guard !isStopping else { return }
    isStopping = true
    systemd.stopping()
    log.report(.stopping(signal: signal))
    lanes.close()
    let deadline = ContinuousClock.now + Limits.farewell
    while lanes.isWorking, ContinuousClock.now < deadline { usleep(5_000) }
    journal.flush(within: Limits.farewell)
    exit(0)
  }
}
