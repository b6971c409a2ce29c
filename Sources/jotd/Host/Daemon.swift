import ArgumentParser
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
  private let board: Noticeboard
  private let connections = Connections()
  private let sockets: TokenSockets
  private let holds = Holds()
  private var service: QueryService!
  private var credentials: Listener?
  private var hooks: HookRunner!
  private var socket: SocketSettings?
  private var listener: Listener?
  /// Who is to be called back once the tokens they asked for are delivered, or fail to be.
  private var callers: [(names: Set<String>, call: @Sendable () -> Void)] = []
  private var signals: Signals!
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
    board = Noticeboard(
      Noticeboard.General(access: Access(prepared.settings), signer: prepared.signer))
    sockets = TokenSockets(connections)
    lanes = DeliveryLanes(sockets) { [weak self] in
      DispatchQueue.main.async { MainActor.assumeIsolated { self?.turn() } }
    }
    clock = try WallClock { [weak self] step in self?.wake(step) }
    // A Dispatch source must not be let go before it was resumed, as it is when this throws.
    patience.schedule(deadline: .distantFuture)
    patience.resume()
    hooks = HookRunner { [weak self] event in self?.hear(event) }
    hooks.configure(prepared.settings.hooks)
    service = QueryService(board, holds, control)
  }

  /// Delivers what is due and comes back; the rest happens on the main queue. Throws when the
  /// query socket cannot be served: nothing was delivered then.
  func start(_ prepared: Preparation) throws(Failure) {
    signals = try Signals { [weak self] number, name in
      if number == SIGHUP { self?.reload() } else { self?.stop(name) }
    }
    patience.setEventHandler { MainActor.assumeIsolated { self.losePatience() } }
    systemd.keepWatchdog()
    log.report(.started(version: version, identities: prepared.settings.identities.count))
    for warning in prepared.warnings { log.report(.warning(warning)) }
    secret.watch { [weak self] in self?.turn() }
    // Armed before the time is first read, so that no setting of the clock is missed.
    _ = try clock.arm(nil)
    rotator.apply(prepared.settings.identities, at: .now)
    // Whoever asks before the first token is told that it is missing, not that nothing is.
    board.post(rotator.takeChanged())
    try openSocket(prepared.settings.socket)
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
    post()
    announce()
    let next = [rotator.nextWake, secret.retryAt].compactMap(\.self).min()
    do throws(Failure) {
      if let step = try clock.arm(next) { wake(step) }
    } catch { giveUp(error) }
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
      case .report(let event): hear(event)
      }
    }
    if !jobs.isEmpty { lanes.submit(jobs) }
    armPatience()
  }

  /// What happened goes to the journal, and to whoever else has to know.
  private func hear(_ event: Event) {
    log.report(event)
    switch event {
    case .rotated(let token): hooks.rotated(token.identity)
    case .hookFailed, .hookRecovered:
      let faults = hooks.faults.map { "the hook \($0.key) failed: \($0.value)" }.sorted()
      board.change { $0.hookFaults = faults }
    default: break
    }
  }

  // MARK: The query socket

  /// Puts up what changed, and tells those who wait for it.
  private func post() {
    let changed = rotator.takeChanged()
    if !changed.isEmpty {
      let before = changed.map { board[$0.identity.name]?.token?.compact }
      board.post(changed)
      let lateness = rotator.lateness
      board.change { $0.lateness = lateness }
      for (standing, before) in zip(changed, before) where standing.token?.compact != before {
        holds.release(standing.identity.name)
      }
    }
    let waiting = callers.filter { rotator.isRotating($0.names) }
    let served = callers.filter { !rotator.isRotating($0.names) }
    callers = waiting
    for caller in served { caller.call() }
  }

  /// What the query service asks for, carried out on the main queue.
  private var control: QueryService.Control {
    QueryService.Control(
      rotate: { [weak self] names, done in
        DispatchQueue.main.async {
          MainActor.assumeIsolated {
            guard let self else { return }
            self.callers.append((names, done))
            self.rotator.rotate(names, at: .now)
            self.turn()
          }
        }
      },
      reload: { [weak self] done in
        DispatchQueue.main.async {
          MainActor.assumeIsolated { if let self { done(self.reload()) } }
        }
      },
      report: { [log] event in log.report(event) })
  }

  /// Serves the query socket that is configured now, in place of the one before.
  private func openSocket(_ wanted: SocketSettings?) throws(Failure) {
    guard wanted != socket else { return }
    if listener?.isHandedOver != true {
      // At another path, the new one is there before the old one goes.
      if wanted?.path == socket?.path { listener?.close() }
      let new = try wanted.map { (wanted) throws(Failure) in
        try Listener(wanted, service, connections)
      }
      if wanted?.path != socket?.path { listener?.close() }
      listener = new
    }
    if wanted?.credentials != socket?.credentials, credentials?.isHandedOver != true {
      let service = CredentialService(board, holds, report: control.report)
      let new = try wanted?.credentials.map { (path) throws(Failure) in
        try Listener(credentials: path, service, connections)
      }
      credentials?.close()
      credentials = new
    }
    socket = wanted
    if isReady { beginServing() }
  }

  /// From READY on: whoever asked before waits, and is not told that tokens are missing.
  private func beginServing() {
    listener?.begin()
    credentials?.begin()
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
    case .failed(let failure):
      log.report(.secretUnreadable(failure))
      board.change { $0.secretFault = failure.description }
    case .read(let signer, let warnings, let hadFailed):
      if hadFailed { log.report(.secretReadable) }
      board.change {
        $0.secretFault = nil
        $0.signer = signer
      }
      for warning in warnings { log.report(.warning(warning)) }
      rotator.use(signer, at: .now)
    }
  }

  /// Applies the configuration files as they are now, whole or not at all.
  @discardableResult
  private func reload() -> Result<Changes, QueryService.Refused> {
    systemd.reloading()
    owesReady = true
    defer { turn() }
    do {
      let prepared = try Preparation(path)
      do throws(Failure) { try openSocket(prepared.settings.socket) } catch {
        throw QueryService.Refused(reason: error.description)
      }
      return .success(apply(prepared))
    } catch {
      let reason = (error as? QueryService.Refused)?.reason ?? "\(error)"
      log.report(.reloadRefused(reason))
      board.change {
        $0.refusedReload = reason
        $0.refusedReloads += 1
      }
      return .failure(QueryService.Refused(reason: reason))
    }
  }

  private func apply(_ prepared: Preparation) -> Changes {
    for warning in prepared.warnings { log.report(.warning(warning)) }
    secret = SecretKeeper(prepared.reader, seen: prepared.fingerprint)
    secret.watch { [weak self] in self?.turn() }
    rotator.use(prepared.signer, at: .now)
    let changes = rotator.apply(prepared.settings.identities, at: .now)
    log.report(.reloaded(changes))
    let access = Access(prepared.settings)
    board.change {
      $0.access = access
      $0.signer = prepared.signer
      $0.refusedReload = nil
      $0.secretFault = nil
      $0.reloads += 1
    }
    hooks.configure(prepared.settings.hooks)
    board.keep(Set(prepared.settings.identities.map(\.name)))
    // What was removed or forbidden is not waited for any longer.
    holds.releaseAll()
    takeStock(prepared.settings)
    return changes
  }

  private func takeStock(_ settings: Settings) {
    var postman = Postman(sockets)
    rotator.takeStock(at: .now) { postman.content(at: $0) }
    if rotator.running == 0 { Postman.sweep(settings.deliveryPlaces.lazy.map(\.delivery)) }
    Hardening.trimMemory()
  }

  private func announce() {
    if owesReady, rotator.unsettled == 0 {
      owesReady = false
      if !isReady {
        log.report(.ready(identities: rotator.count))
        beginServing()
      }
      isReady = true
      systemd.ready()
    }
    let failing =
      rotator.failing > 0
      ? "\(rotator.failing) failing" : rotator.unsettled > 0 ? "delivering" : "all delivered"
    let next = rotator.nextWake.map { "; next rotation \($0.rfc3339)" } ?? ""
    systemd.status("\(counted(rotator.count, "identity")), \(failing)\(next)")
  }

  // MARK: The end

  /// Ends, so that it is started anew: whoever cannot be woken would let every token run out.
  private func giveUp(_ failure: Failure) {
    log.report(.warning("\(failure): jotd cannot be woken any more, and ends"))
    journal.flush(within: Limits.farewell)
    _exit(ExitCode.hostError.rawValue)
  }

  /// Lets running deliveries end, for a bounded time, and exits.
  private func stop(_ signal: String) {
    guard !isStopping else { return }
    isStopping = true
    systemd.stopping()
    log.report(.stopping(signal: signal))
    listener?.close()
    credentials?.close()
    sockets.closeAll()
    lanes.close()
    let deadline = ContinuousClock.now + Limits.farewell
    while lanes.isWorking, ContinuousClock.now < deadline { usleep(5_000) }
    journal.flush(within: Limits.farewell / 2)
    systemd.flush(within: Limits.farewell / 2)
    // At once: exit(3) would take libcrypto down under the threads that still use it.
    _exit(0)
  }
}
