import DequeModule
import Dispatch
import Rotation

/// Runs hooks after rotations, of tokens and of JWK Sets: once for all that come together, each
/// beside the others, and never the same one twice at a time. No rotation waits for a hook, and a
/// hook waits for others' only while as many are at work as the limits allow.
///
/// A hook is gathering, then waiting, then running; a rotation that comes while it runs makes it
/// gather anew at its end.
@MainActor
final class HookRunner {
  private struct Run {
    let names: Set<Subject.Name>
    let since: ContinuousClock.Instant
    /// It had to be ended the last time.
    let isSlow: Bool
    /// It has taken so long that another may run in its place.
    var isHanging = false
  }

  /// The hooks of each subject, and all of them.
  private var hooks: [Subject.Name: [Hook]] = [:]
  private var known: Set<Hook> = []
  /// The subjects for which each hook is to run next.
  private var due: [Hook: Set<Subject.Name>] = [:]
  /// In the order of their times, which is the order in which they came.
  private var gathering: Deque<(hook: Hook, until: ContinuousClock.Instant)> = []
  private var isGatheringArmed = false
  /// Those that had to be ended the last time wait apart, so that nobody waits for them twice.
  private var waiting: Deque<Hook> = []
  private var slowWaiting: Deque<Hook> = []
  private var slow: Set<Hook> = []
  private var running: [Hook: Run] = [:]
  private var isStallTimerArmed = false
  /// The processes that could not be ended, by their hook.
  private var immortals: [Hook: Int32] = [:]
  /// What failed last time, by hook.
  private(set) var faults: [Hook: Failure] = [:]
  private let report: @MainActor (Event) -> Void
  private let store: StatusStore
  private let processes = ProcessRunner()
  /// The hooks that run, to be waited for.
  private let working = DispatchGroup()
  /// The identities whose token is an earlier run's, of which nobody knows whom it reached.
  private var kept: Set<Subject.Name> = []
  /// The subjects for which units have yet to be restarted, and the pauses before the next tries.
  private var unserved: [Hook: Set<Subject.Name>] = [:]
  private var backoffs: [Hook: Backoff] = [:]

  /// `report` is told of failures, recoveries and output; `faults` has changed by then. The store
  /// knows which units have their identity's token already.
  init(_ store: StatusStore, report: @escaping @MainActor (Event) -> Void) {
    self.store = store
    self.report = report
  }

  /// The hooks from now on are `hooks`, of each subject that has any. What hooks that went were to
  /// do, and their faults, are forgotten; one that runs goes on to its end.
  func configure(_ hooks: [Subject.Name: [Hook]]) {
    self.hooks = hooks
    known = Set(hooks.values.joined())
    for (hook, names) in due {
      let left = names.filter { hooks[$0]?.contains(hook) ?? false }
      due[hook] = left.isEmpty ? nil : left
    }
    gathering.removeAll { due[$0.hook] == nil }
    waiting.removeAll { due[$0] == nil }
    slowWaiting.removeAll { due[$0] == nil }
    slow.formIntersection(known)
    faults = faults.filter { known.contains($0.key) }
    backoffs = backoffs.filter { known.contains($0.key) }
  }

  /// Notes that `subject` has another token, or set; its hooks run soon.
  func renewed(_ subject: Subject.Name) {
    if hooks.isEmpty, kept.isEmpty { return }
    kept.remove(subject)
    for hook in hooks[subject] ?? [] { ask(hook, [subject]) }
  }

  /// Notes that `identity` has the token of an earlier run, which may have ended before its hooks
  /// did: units that began before that token was made are restarted.
  func kept(_ identity: String) {
    let subject = Subject.Name.identity(identity)
    kept.insert(subject)
    for hook in hooks[subject] ?? [] where hook.isRestart { ask(hook, [subject]) }
  }

  private func ask(_ hook: Hook, _ subjects: Set<Subject.Name>) {
    if due[hook] == nil, running[hook] == nil { gather(hook) }
    due[hook, default: []].formUnion(subjects)
  }

  /// Waits until the hooks that run have ended, or until `deadline`; then kills the programs that
  /// still run, and lets none begin any more. The main queue stands still meanwhile.
  func close(by deadline: DispatchTime) {
    _ = working.wait(timeout: deadline)
    processes.close()
  }

  // MARK: Gathering

  private func gather(_ hook: Hook) {
    gathering.append((hook, .now + Limits.hookGathering))
    armGathering()
  }

  private func armGathering() {
    guard !isGatheringArmed, let first = gathering.first else { return }
    isGatheringArmed = true
    MainQueue.run(after: first.until - .now) { [self] in
      isGatheringArmed = false
      endGathering()
    }
  }

  private func endGathering() {
    while let first = gathering.first, first.until <= .now {
      gathering.removeFirst()
      if slow.contains(first.hook) {
        slowWaiting.append(first.hook)
      } else {
        waiting.append(first.hook)
      }
    }
    armGathering()
    startWaiting()
  }

  // MARK: Running

  private func startWaiting() {
    while hasRoom, let hook = waiting.popFirst() { start(hook, isSlow: false) }
    while running.values.count(where: \.isSlow) < Limits.slowHooks,
      let hook = slowWaiting.popFirst()
    { start(hook, isSlow: true) }
    if !waiting.isEmpty { armStallTimer() }
  }

  /// Whether one more hook may run that is not known to be slow.
  private var hasRoom: Bool {
    let others = running.values.lazy.filter { !$0.isSlow }
    return others.count < Limits.hooksAtWork
      && others.count(where: { !$0.isHanging }) < Limits.hookWorkers
  }

  private func start(_ hook: Hook, isSlow: Bool) {
    guard var names = due.removeValue(forKey: hook) else { return }
    var madeAt: Int64?
    if case .restart(let unit) = hook {
      // A unit that started meanwhile has what it would be restarted for.
      names = names.filter { $0.identity.map { !store.isCurrent(unit, $0) } ?? true }
      guard !names.isEmpty else { return }
      if names.isSubset(of: kept) {
        madeAt = names.compactMap { name in
          name.identity.flatMap { store[$0]?.token?.issuedAt.wholeSeconds }
        }.max()
      }
    }
    let run = Run(names: names, since: .now, isSlow: isSlow)
    running[hook] = run
    let (processes, immortal, since) = (processes, immortals[hook], madeAt)
    Threads.run(in: working) {
      let outcome =
        if let immortal, processes.isImmortal(immortal) {
          Hook.Outcome(.immortal(pid: immortal), [])
        } else {
          hook.carryOut(for: run.names, unlessStartedSince: since, with: processes)
        }
      MainQueue.run { self.finish(hook, outcome) }
    }
  }

  private func finish(_ hook: Hook, _ outcome: Hook.Outcome) {
    let run = running.removeValue(forKey: hook)
    immortals[hook] = outcome.immortal
    let before = faults[hook]
    // A hook that is configured no more would never recover.
    faults[hook] = known.contains(hook) ? outcome.failure : nil
    if outcome.isLate, known.contains(hook) { slow.insert(hook) } else { slow.remove(hook) }
    for line in outcome.output { report(.hookOutput(hook: hook.description, line: line)) }
    // systemd goes on with what takes long.
    let isRetried = outcome.failure != nil && hook.isRestart && !outcome.isLate
    if isRetried, known.contains(hook) {
      retry(hook, run?.names ?? [])
    } else {
      backoffs[hook] = nil
      // What was to be tried again for them is done.
      if outcome.failure == nil, let run { unserved[hook]?.subtract(run.names) }
    }
    if let failure = outcome.failure {
      if failure != before {
        report(.hookFailed(hook: hook.description, failure, isRetried: isRetried))
      }
    } else if before != nil {
      report(.hookRecovered(hook: hook.description))
    }
    if due[hook] != nil { gather(hook) }
    startWaiting()
  }

  /// A unit that could not be restarted has a token that runs out, perhaps before the next
  /// rotation.
  private func retry(_ hook: Hook, _ names: Set<Subject.Name>) {
    let isPlanned = unserved[hook] != nil
    unserved[hook, default: []].formUnion(names)
    if isPlanned { return }
    MainQueue.run(after: backoffs[hook, default: Backoff()].next()) { [self] in
      let left = (unserved.removeValue(forKey: hook) ?? []).filter {
        hooks[$0]?.contains(hook) ?? false
      }
      if !left.isEmpty { ask(hook, left) }
    }
  }

  // MARK: Hanging hooks

  /// While hooks wait, the first that takes too long makes room for another.
  private func armStallTimer() {
    let since = running.values.lazy.filter { !$0.isSlow && !$0.isHanging }.map(\.since).min()
    guard !isStallTimerArmed, let since else { return }
    isStallTimerArmed = true
    MainQueue.run(after: since + Limits.hookStallTimeout - .now) { [self] in
      isStallTimerArmed = false
      let long = ContinuousClock.now - Limits.hookStallTimeout
      running = running.mapValues { run in
        var run = run
        run.isHanging = run.since <= long
        return run
      }
      startWaiting()
    }
  }
}
