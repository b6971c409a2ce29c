import ArgumentParser
import Dispatch
import Glibc
import Rotation

/// The rotator's host: gives it time and keys, and carries out its actions. Its state is the main
/// queue's; what can hang runs on other queues (ARCHITECTURE.md).
@MainActor
final class Daemon {
  private let path: String
  private let journal: Journal
  private let systemd = SystemdNotifier()
  private var clock: WallClock!
  private var deliveries: DeliveryWorkers!
  private var rotator: Rotator
  private var secret: SecretWatcher!
  private var settings: Settings
  private var lock: RunLock?
  private var reloader: Reloader<NewConfiguration>!
  private let store: StatusStore
  private let connections = Connections(.query())
  private let credentialConnections = Connections(.credentials())
  private let longPolls = LongPolls()
  private var served: ServedSockets!
  private var credentialService: CredentialService!
  private var hooks: HookRunner!
  /// Who is to be called back once the tokens they asked for are delivered, or fail to be.
  private var callers: [RotationRequest.ID: @Sendable () -> Void] = [:]
  private var lastRequest: RotationRequest.ID = 0
  private var totals = Totals()
  private var nextWake: Instant?
  private var signals: Signals!
  /// READY=1 is owed: at the start, and after a reload.
  private var owesReady = true
  private var isReady = false
  private var isStopping = false

  /// Settings, signer and warnings come from `LoadedConfiguration`.
  init(_ path: String, _ prepared: LoadedConfiguration, _ journal: Journal) throws(Failure) {
    self.path = path
    self.journal = journal
    rotator = Rotator(keys: Keys(signing: prepared.signer))
    settings = prepared.settings
    store = StatusStore(
      StatusStore.General(
        access: Access(prepared.settings), keys: Keys(signing: prepared.signer),
        configuration: prepared.settings.version))
    clock = try WallClock { [weak self] step in self?.wake(step) }
    deliveries = DeliveryWorkers { [weak self] news in self?.hear(news) }
    hooks = HookRunner(store) { [weak self] event in self?.hear(event) }
    hooks.configure(prepared.settings.identities)
    let answers = DispatchQueue(label: "jotd.answers")
    let service = QueryService(
      store, longPolls, Turns { work in answers.async { work() } }, control)
    credentialService = CredentialService(
      store, longPolls, service.renewals, report: control.report)
    served = ServedSockets(
      query: { [connections] (settings) throws(Failure) in
        try Listener(settings, service, connections)
      },
      credentials: { [credentialService, credentialConnections] (path) throws(Failure) in
        try Listener(credentials: path, credentialService!, credentialConnections)
      })
    reloader = makeReloader()
  }

  /// Delivers what is due and comes back; the rest happens on the main queue. Throws when a
  /// socket cannot be served, or another jotd runs with this configuration: nothing was delivered
  /// then.
  func start(_ prepared: LoadedConfiguration) throws {
    signals = try Signals { [weak self] number, name in
      if number == SIGHUP { self?.reloader.reload() } else { self?.stop(name) }
    }
    systemd.keepWatchdog()
    journal.report(.started(version: version, identities: prepared.settings.identities.count))
    for warning in prepared.warnings { journal.report(.warning(warning)) }
    for warning in SocketActivation.warnings { journal.report(.warning(warning)) }
    try takeLock()
    watchSecret(prepared)
    // Armed before the time is first read, so that no setting of the clock is missed.
    _ = try clock.arm(nil)
    boundConnections()
    try openSockets()
    deliveries.configure(settings)
    step(.configured(prepared.settings.identities, Keys(signing: prepared.signer)))
  }

  private func takeLock() throws {
    let path = path
    let taken = waiting(for: Limits.stallTimeout, "jotd.lock") {
      Result { () throws(Failure) in try RunLock.take(for: path) }
    } late: {
      if case .success(let lock) = $0 { lock?.release() }
    }
    lock = try taken?.get()
  }

  /// A socket whose disk hangs comes when that comes back; the deliveries do not wait for it.
  private func openSockets() throws {
    let (served, socket) = (served!, settings.socket)
    let prepared = waiting(for: Limits.stallTimeout, "jotd.sockets") {
      Result { () throws(Diagnostic) in try served.prepare(socket) }
    } late: { [weak self] result in
      DispatchQueue.main.async { MainActor.assumeIsolated { self?.openLate(result) } }
    }
    guard let prepared else {
      return journal.report(
        .warning("the sockets of the configuration hang: does a disk? They come when it does"))
    }
    served.commit(try prepared.get())
  }

  private func openLate(_ result: Result<ServedSockets.Prepared, Diagnostic>) {
    switch result {
    case .success(let prepared):
      // A reload may have come before.
      guard served.isEmpty else {
        return DispatchQueue(label: "jotd.sockets").async { [served] in served!.abandon(prepared) }
      }
      served.commit(prepared)
      if isReady { served.begin() }
    case .failure(let diagnostic): journal.report(.warning("\(diagnostic)"))
    }
  }

  /// The one place that drives the rotator, carries out what comes of it, and sleeps again.
  private func step(_ input: Input) {
    guard !isStopping else { return }
    secret.look(at: .now)
    let turn = turn(input)
    publish(turn.changed)
    carryOut(turn)
  }

  private func turn(_ input: Input) -> Turn {
    var random = SystemRandomNumberGenerator()
    let turn = rotator.step(input, at: .now, random: &random)
    (totals, nextWake) = (turn.totals, turn.nextWake)
    return turn
  }

  private func carryOut(_ turn: Turn) {
    carryOut(turn.actions)
    for request in turn.answered { callers.removeValue(forKey: request)?() }
    rest()
  }

  /// Says how things stand, and sleeps until there is something to do.
  private func rest() {
    announce()
    let next = [nextWake, secret.retryAt].compactMap(\.self).min()
    do throws(Failure) {
      if let step = try clock.arm(next) { wake(step) }
    } catch { giveUp(error) }
  }

  private func wake(_ change: Duration?) { step(change.map(Input.clockSet) ?? .woke) }

  private func carryOut(_ actions: [Action]) {
    var jobs: [Job] = []
    for action in actions {
      switch action {
      case .run(let job): jobs.append(job)
      case .report(let event): hear(event)
      }
    }
    deliveries.carryOut(jobs)
  }

  private func hear(_ news: DeliveryWorkers.News) {
    switch news {
    case .ended: step(.ended(deliveries.collect().map { ($0.id, $1) }))
    case .hanging(let jobs): step(.stalled(jobs.map(\.id)))
    case .changed(let paths): step(.touched(paths))
    case .blind(let failure): journal.report(.warning("\(failure)"))
    }
  }

  /// What happened goes to whoever has to know, and to the journal: what that says is so.
  private func hear(_ event: Event) {
    defer { journal.report(event) }
    switch event {
    case .rotated(let token): hooks.rotated(token.identity)
    case .kept(let token): hooks.kept(token.identity)
    case .hookFailed, .hookRecovered: postHookFaults()
    default: break
    }
  }

  private func postHookFaults() {
    let faults = hooks.faults.map { "the hook \($0.key) failed: \($0.value)" }.sorted()
    store.change { $0.hookFaults = faults }
  }

  // MARK: The query socket

  /// Publishes what changed, and tells those who wait for it.
  private func publish(_ changed: [IdentityStatus]) {
    if changed.isEmpty { return }
    let before = changed.map { store[$0.identity.name]?.token?.compact }
    store.publish(changed)
    store.change { [totals] in $0.lateness = totals.lateness }
    for (status, before) in zip(changed, before)
    where status.token?.compact != before || status.token == nil && !status.isAwaited {
      longPolls.release(status.identity.name)
    }
  }

  /// What the query service asks for, carried out on the main queue.
  private var control: QueryService.Control {
    QueryService.Control(
      rotate: { [weak self] names, onlyToGain, done in
        DispatchQueue.main.async {
          MainActor.assumeIsolated {
            guard let self else { return }
            self.lastRequest += 1
            self.callers[self.lastRequest] = done
            self.step(
              .requested(
                RotationRequest(id: self.lastRequest, names: names, onlyToGain: onlyToGain)))
          }
        }
      },
      reload: { [weak self] done in
        DispatchQueue.main.async {
          MainActor.assumeIsolated { self?.reloader.reload(done) }
        }
      },
      report: { [journal] event in journal.report(event) })
  }

  // MARK: What changes from outside

  private func watchSecret(_ prepared: LoadedConfiguration) {
    secret = SecretWatcher(prepared.reader, seen: prepared.fingerprint) { [weak self] news in
      self?.hear(news)
    }
  }

  private func hear(_ news: SecretWatcher.News) {
    switch news {
    case .failed(let failure):
      store.change { $0.secretFault = failure.description }
      journal.report(.secretUnreadable(failure))
    case .stillFailing: break
    case .read(let signer, let warnings, let hadFailed):
      store.change {
        $0.secretFault = nil
        $0.keys = Keys(signing: signer)
      }
      if hadFailed { journal.report(.secretReadable) }
      for warning in warnings { journal.report(.warning(warning)) }
      return step(.keysChanged(Keys(signing: signer)))
    }
    rest()
  }

  /// Applies the configuration files as they are now, whole or not at all.
  private func makeReloader() -> Reloader<NewConfiguration> {
    let (path, served) = (path, served!)
    return Reloader(
      prepare: { NewConfiguration.prepare(path, served) },
      abandon: { served.abandon($0.sockets) },
      begin: { [weak self] in
        self?.systemd.reloading()
        self?.owesReady = true
      },
      commit: { [weak self] result in
        guard let self else { return .failure(Failure("jotd stops")) }
        switch result {
        case .success(let new): return .success(commit(new))
        case .failure(let refused):
          defer { rest() }
          store.change {
            $0.refusedReload = refused.description
            $0.refusedReloads += 1
          }
          journal.report(.reloadRefused(refused.description))
          return .failure(refused)
        }
      })
  }

  private func commit(_ new: NewConfiguration) -> Changes {
    let prepared = new.loaded
    for warning in prepared.warnings { journal.report(.warning(warning)) }
    served.commit(new.sockets)
    if isReady { served.begin() }
    watchSecret(prepared)
    let keys = Keys(signing: prepared.signer)
    let turn = turn(.configured(prepared.settings.identities, keys))
    let changes = turn.changes ?? Changes()
    settings = prepared.settings
    boundConnections()
    // Before the journal says so: who reads that may ask for health at once.
    store.apply(prepared.settings, keys, turn.changed)
    journal.report(.reloaded(changes))
    hooks.configure(prepared.settings.identities)
    postHookFaults()
    // What was removed or forbidden is not waited for any longer, and the rest is asked for anew.
    longPolls.releaseAll()
    deliveries.configure(settings)
    carryOut(turn)
    return changes
  }

  /// Leaves enough descriptors to rotations, and to the token sockets that listen.
  private func boundConnections() {
    let listening = settings.listeningDeliveries
    connections.keep(.query(listening: listening))
    credentialConnections.keep(.credentials(listening: listening))
  }

  private func announce() {
    if owesReady, totals.unsettled == 0, !deliveries.isSweeping, !reloader.isRunning {
      owesReady = false
      if !isReady {
        journal.report(
          .ready(
            identities: totals.identities, failing: totals.failing,
            names: Array(
              store.all.lazy.filter { !$0.failures.isEmpty }.map(\.identity.name)
                .prefix(Limits.namesShown))))
        // Whoever asked before waits, and is not told that tokens are missing.
        served.begin()
        Hardening.trimMemory()
      }
      isReady = true
      systemd.ready()
    }
    // How things stand after a reload is told when it is done.
    if owesReady, isReady, !reloader.isRunning { return }
    let failing =
      totals.failing > 0
      ? "\(totals.failing) failing" : totals.unsettled > 0 ? "delivering" : "all delivered"
    let next = nextWake.map { "; next rotation \($0.rfc3339)" } ?? ""
    systemd.status(
      "\(counted(totals.identities, "identity")), \(failing)\(next)",
      refusedReload: store.general.refusedReload)
  }

  // MARK: The end

  /// Ends, so that it is started anew: whoever cannot be woken would let every token run out.
  private func giveUp(_ failure: Failure) {
    journal.report(.warning("\(failure): jotd cannot be woken any more, and ends"))
    hooks.close()
    journal.flush(within: Limits.shutdownGrace)
    _exit(ExitCode.hostError.rawValue)
  }

  /// Lets running deliveries and hooks end, for a bounded time, and exits.
  private func stop(_ signal: String) {
    guard !isStopping else { return }
    isStopping = true
    systemd.stopping()
    journal.report(.stopping(signal: signal))
    deliveries.close()
    credentialService.stop()
    let deadline = ContinuousClock.now + Limits.shutdownGrace
    // A disk that hangs keeps its sockets' files, which the next start replaces.
    let served = served!
    let ending = DispatchGroup()
    let operations =
      deliveries.shutdownWork + [
        { @Sendable in served.close() }, { @Sendable [lock] in lock?.release() },
      ]
    for operation in operations {
      DispatchQueue(label: "jotd.stop").async(group: ending, execute: operation)
    }
    _ = ending.wait(timeout: .now() + .microseconds(Int(Limits.shutdownGrace.microseconds)))
    while hooks.isWorking, ContinuousClock.now < deadline { usleep(5_000) }
    hooks.close()
    journal.flush(within: Limits.shutdownGrace / 2)
    systemd.flush(within: Limits.shutdownGrace / 2)
    // At once: exit(3) would take libcrypto down under the threads that still use it.
    _exit(0)
  }
}
