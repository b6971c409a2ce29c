import ArgumentParser
import Dispatch
import Glibc
import Rotation

/// The rotator's host: carries out what comes of its steps. All that happens comes in as a
/// `Message`, on the main queue; what can hang runs on other threads (ARCHITECTURE.md).
@MainActor
final class Daemon {
  /// What the daemon's parts tell it.
  private enum Message: Sendable {
    /// The timer ended; or the clock was set, by this much.
    case woke(clockSetBy: Duration?)
    case deliveries(DeliveryWorkers.News)
    case secret(key: String, SecretWatcher.News)
    case happened(Event)
    case signal(Lifecycle.Request)
    case reload(Reloader.Answer)
    case rings(KeyRings.News)
    /// Somebody wants something of a ring of keys, see `QueryService.Control`.
    case ring(String, KeyRing.Wish, done: @Sendable (Failure?) -> Void)
    case reloading(Reloader.News)
    /// Somebody wants new tokens, see `QueryService.Control`.
    case rotate(Set<String>, onlyToGain: Bool, done: @Sendable () -> Void)
  }

  private let journal: Journal
  private let lifecycle: Lifecycle
  private let clock: WallClock
  private let servers: Servers
  private let deliveries: DeliveryWorkers
  private let hooks: HookRunner
  private let reloader: Reloader
  private let secrets: SecretWatchers
  private let rings: KeyRings
  /// Who waits for what becomes of a wish.
  private var wishes: [KeyRing.Wish.ID: @Sendable (Failure?) -> Void] = [:]
  private var lastWish: KeyRing.Wish.ID = 0
  private var driver: RotatorDriver

  /// Starts what is due of the configuration at `path` and comes back; the rest happens on the main
  /// queue. Throws when the signal handlers, the timer or a socket cannot be had, or another jotd
  /// runs with this configuration: nothing was delivered then.
  init(_ path: String, _ loaded: LoadedConfiguration, _ journal: Journal) throws {
    let settings = loaded.settings
    let mailbox = Mailbox<Message>()
    self.journal = journal
    // First: whoever reads that jotd starts may send a signal at once.
    lifecycle = try Lifecycle { mailbox.put(.signal($0)) }
    clock = try WallClock { mailbox.put(.woke(clockSetBy: $0)) }
    let control = QueryService.Control(
      rotate: { mailbox.post(.rotate($0, onlyToGain: $1, done: $2)) },
      reload: { mailbox.post(.reload($0)) },
      ring: { mailbox.post(.ring($0, $1, done: $2)) }, report: { journal.report($0) })
    servers = Servers(loaded, control, journal)
    let inotify = Inotify()
    deliveries = DeliveryWorkers(inotify) { mailbox.put(.deliveries($0)) }
    hooks = HookRunner(servers.store) { mailbox.put(.happened($0)) }
    let rings = KeyRings { mailbox.put(.rings($0)) }
    self.rings = rings
    reloader = Reloader(
      path, servers.sockets, rings: { rings.inUse }, hear: { mailbox.put(.reloading($0)) })
    secrets = SecretWatchers(inotify) { mailbox.put(.secret(key: $0, $1)) }
    driver = RotatorDriver(keys: loaded.keys)
    journal.report(.started(version: version, identities: settings.identities.count))
    for warning in loaded.warnings + SocketActivation.warnings { journal.report(.warning(warning)) }
    try lifecycle.takeLock(for: path)
    do { try start(loaded) } catch {
      lifecycle.giveUpStart()
      throw error
    }
    mailbox.open { self.take($0) }
  }

  private func start(_ loaded: LoadedConfiguration) throws {
    let settings = loaded.settings
    // Armed before the time is first read, so that no setting of the clock is missed.
    _ = try clock.arm(nil)
    try servers.open(settings)
    hooks.configure(settings.hooks)
    deliveries.configure(settings)
    let keys = rings.configure(settings, loaded.rings, loaded.keys)
    secrets.watch(loaded.secrets, keys)
    step(.configured(settings.identities, keys))
    reportAbsence(keys)
    rings.resume(settings)
  }

  private func take(_ message: Message) {
    switch message {
    case .woke(let change): wake(change)
    case .deliveries(let news): take(news)
    case .secret(let key, let news): take(news, of: key)
    case .happened(let event): record([event])
    case .signal(.reload): reloader.reload()
    case .signal(.stop(let signal)): stop(signal)
    case .reload(let answer): reloader.reload(answer)
    case .rings(let news): take(news)
    case .ring(let name, let wish, let done):
      lastWish += 1
      wishes[lastWish] = done
      rings.ask(name, wish, lastWish)
    case .reloading(.begins): lifecycle.beginReload()
    case .reloading(.prepared(let result, let answer)): answer(commit(result))
    case .rotate(let names, let onlyToGain, let done):
      step(driver.request(names, onlyToGain: onlyToGain, done))
    }
  }

  // MARK: A step

  /// Drives the rotator, carries out what comes of it, and sleeps again.
  private func step(_ input: Input) {
    secrets.look(at: .now)
    let turn = driver.step(input)
    servers.publish(turn)
    carryOut(turn)
  }

  private func wake(_ change: Duration?) {
    if let change { rings.reconsider(change) }
    step(change.map(Input.clockSet) ?? .woke)
    rings.wake(at: .now)
  }

  private func carryOut(_ turn: Turn) {
    var jobs: [DeliveryWork] = []
    var events: [Event] = []
    for action in turn.actions {
      switch action {
      case .run(let job): jobs.append(.job(job))
      case .sign(let job): jobs.append(.sign(job))
      case .report(let event): events.append(event)
      }
    }
    record(events)
    deliveries.carryOut(jobs)
    driver.answer(turn)
    rest()
    confirm(turn)
  }

  /// Tells the rings which sets are where verifiers find them. A key without files is published on
  /// the sockets alone: at once.
  private func confirm(_ turn: Turn) {
    guard turn.publications != nil || turn.keys != nil else { return }
    let general = servers.store.general
    let waiting = Set(general.publications.lazy.filter { !$0.isComplete }.map(\.key))
    rings.publish(general.keys.all.map(\.name).filter { !waiting.contains($0) })
  }

  private func take(_ news: KeyRings.News) {
    switch news {
    case .changed(let key): step(.keyRead(key))
    case .stands:
      let statuses = rings.statuses
      servers.store.change { $0.rings = statuses }
      rest()
    case .happened(let event): record([event])
    case .answered(let id, let fault): wishes.removeValue(forKey: id)?(fault)
    }
  }

  /// Says how things stand, and sleeps until there is something to do.
  private func rest() {
    announce()
    let next = [driver.nextWake, secrets.retryAt, rings.nextWake].compactMap(\.self).min()
    do throws(Failure) {
      if let change = try clock.arm(next) { wake(change) }
    } catch { exitFatally(error) }
  }

  private func take(_ news: DeliveryWorkers.News) {
    switch news {
    case .ended:
      let (ended, failedKeys) = deliveries.collect()
      step(.ended(ended))
      secrets.doubt(failedKeys)
    case .hanging(let jobs): step(.stalled(jobs))
    case .changed(let paths): step(.touched(paths))
    case .blind(let failure): journal.report(.warning("\(failure)"))
    }
  }

  /// What happened goes to whoever has to know, and to the journal: what that says is so.
  private func record(_ events: [Event]) {
    defer { journal.report(events) }
    for event in events {
      switch event {
      case .rotated(let token): hooks.renewed(.identity(token.identity))
      case .published(let key): hooks.renewed(.publication(key: key))
      case .kept(let token): hooks.kept(token.identity)
      case .hookFailed, .hookRecovered: publishHookFaults()
      default: break
      }
    }
  }

  private func publishHookFaults() {
    let faults = hooks.faults.map { "the hook \($0.key) failed: \($0.value)" }.sorted()
    servers.store.change { $0.hookFaults = faults }
  }

  /// Says which devices do not answer, in the journal and in health.
  private func reportAbsence(_ keys: Keys) {
    for key in keys.all { if let failure = key.absence { reportFailure(failure, of: key.name) } }
  }

  private func reportFailure(_ failure: Failure, of key: String) {
    let keys = servers.store.general.keys
    servers.store.change { $0.secretFaults[key] = failure.description }
    journal.report(
      keys.isInDevice(key)
        ? .deviceFailed(key: keys.shown(key), failure)
        : .secretUnreadable(key: keys.shown(key), failure))
  }

  /// What signed before goes on where it is asked for in the same way, and the device does not
  /// answer now.
  private func keeping(_ keys: Keys, _ settings: Settings) -> Keys {
    var kept = keys
    for key in settings.keys.map(\.settings) where keys[key.label.name]?.absence != nil {
      let former = servers.store.general.keys[key.label.name]?.signing
      if let signer = former as? DeviceSigner, signer.isAsked(forBy: key) {
        kept = kept.replacing(key.label.name, with: signer)
      }
    }
    return kept
  }

  private func take(_ news: SecretWatcher.News, of key: String) {
    let keys = servers.store.general.keys
    let name = keys.shown(key)
    switch news {
    case .failed(let failure): reportFailure(failure, of: key)
    case .stillFailing: break
    // What it did not sign is tried again in its own time.
    case .read(let signer, _, _, isConfirmation: true)
    where keys[key]?.signing?.keyID == signer.keyID:
      break
    case .read(let signer, let warnings, let hadFailed, _):
      // Not refused: two that change places are one for a moment.
      if let fault = keys.fault(of: signer, as: key) {
        journal.report(.warning(fault))
      }
      servers.store.change { $0.secretFaults[key] = nil }
      if hadFailed {
        journal.report(
          keys.isInDevice(key) ? .deviceRecovered(key: name) : .secretReadable(key: name))
      }
      for warning in warnings { journal.report(.warning(warning)) }
      return step(.signerRead(key: key, signer))
    }
    rest()
  }

  // MARK: A reload

  /// Applies what was prepared, whole; or nothing of it.
  private func commit(_ result: Result<NewConfiguration, Failure>) -> Result<Changes, Failure> {
    switch result {
    case .success(let new): return .success(commit(new))
    case .failure(let refused):
      defer { rest() }
      servers.store.change {
        $0.refusedReload = refused.description
        $0.refusedReloads += 1
      }
      journal.report(.reloadRefused(refused.description))
      return .failure(refused)
    }
  }

  private func commit(_ new: NewConfiguration) -> Changes {
    let (loaded, settings) = (new.loaded, new.loaded.settings)
    for warning in loaded.warnings { journal.report(.warning(warning)) }
    servers.serve(new.sockets)
    secrets.watch(loaded.secrets, loaded.keys)
    let keys = rings.configure(settings, loaded.rings, keeping(loaded.keys, loaded.settings))
    let turn = driver.step(.configured(settings.identities, keys))
    let changes = turn.changes ?? Changes()
    // Before the journal says so: who reads that may ask for health at once.
    servers.apply(settings, turn)
    journal.report(.reloaded(changes))
    reportAbsence(loaded.keys)
    hooks.configure(settings.hooks)
    publishHookFaults()
    servers.releaseAll()
    deliveries.configure(settings)
    carryOut(turn)
    rings.resume(settings)
    return changes
  }

  // MARK: What systemd is told

  private func announce() {
    let totals = driver.totals
    if lifecycle.owesReady, totals.unsettled == 0, !deliveries.isSweeping, !reloader.isRunning {
      if lifecycle.phase == .starting { welcome(totals) }
      lifecycle.becomeReady()
    }
    // How things stand after a reload is told when it is done.
    if lifecycle.phase == .reloading, !reloader.isRunning { return }
    let failing =
      totals.failing > 0
      ? "\(totals.failing) failing" : totals.unsettled > 0 ? "delivering" : "all delivered"
    let sets = totals.failingPublications
    let publishing = sets > 0 ? "; \(counted(sets, "JWK Set")) failing" : ""
    let next = driver.nextWake.map { "; next rotation \($0.rfc3339)" } ?? ""
    lifecycle.tell(
      "\(counted(totals.identities, "identity")), \(failing)\(publishing)\(next)",
      refusedReload: servers.store.general.refusedReload)
  }

  /// The start is over. Whoever asked before waited, and is not told that tokens are missing.
  private func welcome(_ totals: Totals) {
    let names = totals.failing == 0 ? [] : servers.store.failing(upTo: Limits.namesShown)
    journal.report(
      .ready(identities: totals.identities, failing: totals.failing, names: names))
    servers.begin()
    Hardening.trimMemory()
  }

  // MARK: The end

  /// Ends, so that it is started anew: whoever cannot be woken would let every token run out.
  private func exitFatally(_ failure: Failure) -> Never {
    MainQueue.leave()
    journal.report(.warning("\(failure): jotd cannot be woken any more, and ends"))
    hooks.close(by: .now())
    journal.flush(within: Limits.shutdownGrace)
    _exit(ExitCode.hostError.rawValue)
  }

  /// Lets running deliveries and hooks end, for a bounded time, and exits.
  private func stop(_ signal: String) -> Never {
    MainQueue.leave()
    lifecycle.beginStop()
    journal.report(.stopping(signal: signal))
    deliveries.close()
    DeviceProcess.endAll()
    servers.stop()
    // A disk that hangs keeps its sockets' files, which the next start replaces.
    let ending = DispatchGroup()
    let work = deliveries.shutdownWork + [servers.closing, lifecycle.unlocking]
    for operation in work { Threads.run(in: ending, operation) }
    let deadline = DispatchTime.now() + Limits.shutdownGrace.interval
    _ = ending.wait(timeout: deadline)
    hooks.close(by: deadline)
    journal.flush(within: Limits.shutdownGrace / 2)
    lifecycle.flush(within: Limits.shutdownGrace / 2)
    // At once: exit(3) would take libcrypto down under the threads that still use it.
    _exit(0)
  }
}

extension Keys {
  /// Whether the key of this name is in a device.
  fileprivate func isInDevice(_ name: String) -> Bool { self[name]?.signing?.isRemote ?? true }
}
