import Dispatch
import Rotation

/// The rings of keys that the daemon runs, each beside the main queue: what one of them waits for,
/// a disk or a long computation, holds up that one alone.
@MainActor
final class KeyRings {
  enum News {
    /// The key of this name is another one, or publishes others.
    case changed(Key)
    /// How the rings stand may be another.
    case stands
    case happened(Event)
    /// What an operator wanted is done; or why not.
    case answered(KeyRing.Wish.ID, Failure?)
  }

  private var rings: [String: LoadedRing] = [:]
  /// Since when the present work of each runs.
  private var working: [String: ContinuousClock.Instant] = [:]
  /// The wishes that are not answered yet.
  private var asked: [String: Set<KeyRing.Wish.ID>] = [:]
  /// When each is to be woken.
  private var wakes: [String: Instant] = [:]
  private let hear: @MainActor (News) -> Void

  /// `hear` is called on the main queue.
  init(hear: @escaping @MainActor (News) -> Void) { self.hear = hear }

  /// When the next is to be woken; nil for never.
  var nextWake: Instant? { wakes.values.min() }

  /// What runs, for a reload.
  var inUse: RingsInUse {
    rings.compactMapValues { ring in
      (try? ring.key()).map { (ring.folder.path, $0) }
    }
  }

  /// Takes over what a configuration says: the rings that it brings anew, and those that go on.
  /// Gives the keys as they are now, in place of those of `keys`.
  func configure(_ settings: Settings, _ new: [LoadedRing], _ keys: Keys) -> Keys {
    var next: [String: LoadedRing] = [:]
    for ring in new { next[ring.name] = ring }
    var keys = keys
    for key in settings.keys.map(\.settings) where next[key.label.name] == nil {
      guard let kept = rings[key.label.name], kept.folder.path == key.generated?.folder else {
        continue
      }
      next[kept.name] = kept.with(key)
      if let key = try? next[kept.name]?.key() { keys = keys.replacing(key) }
    }
    let gone = rings.filter { $0.value.handle !== next[$0.key]?.handle }.map(\.key)
    rings = next
    for name in gone {
      wakes[name] = nil
      working[name] = nil
      for id in asked.removeValue(forKey: name) ?? [] {
        hear(.answered(id, Failure("the configuration has changed meanwhile")))
      }
    }
    return keys
  }

  /// Begins with those that `configure` brought, and tells the others what the configuration says.
  func resume(_ settings: Settings) {
    for key in settings.keys.map(\.settings) {
      let name = key.label.name
      guard let policy = key.policy(longestLife: settings.longestLife(ofKey: name)) else {
        continue
      }
      if let work = rings[name]?.takeUnfinished() { begin(work, name) }
      step(name, .configured(policy))
    }
  }

  /// Wakes those whose time has come.
  func wake(at now: Instant) {
    for (name, moment) in wakes where moment <= now { step(name, .woke) }
  }

  /// The clock was set by this much, or the machine slept.
  func reconsider(_ change: Duration) {
    for name in rings.keys { step(name, .clockSet(by: change)) }
  }

  /// The sets of these keys are at all their places.
  func publish(_ names: [String]) { for name in names { step(name, .published) } }

  /// An operator wants something of the key of this name.
  func ask(_ name: String, _ wish: KeyRing.Wish, _ id: KeyRing.Wish.ID) {
    guard rings[name] != nil else {
      return hear(.answered(id, Failure("the key \(name) is none that jotd makes (generate)")))
    }
    asked[name, default: []].insert(id)
    step(name, .asked(wish, id))
  }

  /// How the rings stand, by name.
  var statuses: [KeyRingStatus] {
    let now = KeyRing.Moment.now
    return rings.values.sorted { $0.name < $1.name }.map { ring in
      KeyRingStatus(ring.name, ring.ring, at: now, workingSince: working[ring.name])
    }
  }

  // MARK: A step

  private func step(_ name: String, _ input: KeyRing.Input) {
    guard let turn = rings[name]?.ring.step(input, at: .now) else { return }
    wakes[name] = turn.nextWake
    if let work = turn.work { begin(work, name) }
    let now = KeyRing.Moment.now
    if let failure = turn.failure { hear(.happened(.ringFailed(key: name, failure))) }
    if turn.hasRecovered { hear(.happened(.ringRecovered(key: name))) }
    for member in turn.changed {
      let until = rings[name]?.ring.nextState(of: member, at: now)
      hear(.happened(.ringChanged(key: name, member, until: until)))
    }
    rings[name]?.forgetRetired()
    if turn.hasNewSet,
      let key = rings[name].map({ ring in Result { () throws(Failure) in try ring.key() } })
    {
      switch key {
      case .success(let key): hear(.changed(key))
      case .failure(let failure): hear(.happened(.ringFailed(key: name, failure)))
      }
    }
    hear(.stands)
    for (id, fault) in turn.answers {
      asked[name]?.remove(id)
      hear(.answered(id, fault))
    }
  }

  private func begin(_ work: KeyRing.Work, _ name: String) {
    guard let ring = rings[name] else { return }
    working[name] = .now
    Threads.run { [folder = ring.folder, handle = ring.handle] in
      let (input, signer) = folder.carryOut(work)
      MainQueue.run { self.end(name, handle, input, signer) }
    }
  }

  private func end(
    _ name: String, _ handle: LoadedRing.Handle, _ input: KeyRing.Input, _ signer: (any Signer)?
  ) {
    // Another configuration may have come meanwhile.
    guard rings[name]?.handle === handle else { return }
    working[name] = nil
    if let signer { rings[name]?.add(signer) }
    step(name, input)
  }
}
