@testable import Rotation

/// What an invariant found.
struct Violation: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}

/// Sees what happens on a simulated host, remembers what matters, and throws when a promise does
/// not hold. It excuses a place that is out of order, or just was; and all of them for a moment
/// after the clock was set, the key changed, and the like. An excuse of one identity's place is
/// none for another's.
struct Witness {
  /// What a delivery may take, twice: one that ran already, and the one that counts.
  static let moment: Int64 = 20_000
  /// The longest pause between tries, its jitter, and the drift of the clock meanwhile.
  static let longestPause: Int64 = 66_200_000
  /// Until a hanging delivery is noted as one.
  static let patience: Int64 = 2_100_000

  /// Until when there are excuses.
  var excuse: Int64 = 0
  var standstill: Int64 = 0
  /// Until when there are some for those whose tokens a device signs.
  var deviceExcuse: Int64 = 0
  var excuses: [Path: Int64] = [:]
  /// Places with something that the running process cannot know of.
  var abandoned: Set<Path> = []
  /// Places whose token somebody took away, until a look comes back from there: before that, nobody
  /// can know.
  private(set) var lost: Set<Path> = []
  /// Those that were delivered before, until another is written there.
  private var bereft: Set<Path> = []

  /// Those of the keys that were last reported as changed, by their names.
  var keyIDs: [String: KeyID] = [:]
  /// What is put up for the query socket.
  private(set) var board: [String: IdentityStatus] = [:]
  /// The last tries that failed: at places, and at minting for identities.
  var failed: [Path: (bytes: [UInt8], at: Int64)] = [:]
  var failedMinting: [String: Int64] = [:]
  var pauses: [String: Pause] = [:]
  /// The words of the failure that was reported last and is not over.
  var reported: [Path: String] = [:]
  var reportedMinting: [String: String] = [:]
  /// The `exp` of the token that was last reported as stale, or as expired, and since when the
  /// report is owed.
  var told: [String: (expiry: Instant, state: Freshness)] = [:]
  var owed: [String: Int64] = [:]
  /// Identities whose token somebody asked to have replaced, with the failures of minting then;
  /// until it is minted.
  var asked: [String: Int] = [:]
  /// When somebody asked last. One that was being signed then comes before the one that was asked
  /// for.
  private var lastAsked: [String: Int64] = [:]
  /// Requests without an answer: for whose tokens, and when they came, in true time and by the
  /// second of the wall clock.
  var waiting: [RotationRequest.ID: (names: Set<String>, since: Int64, second: Int64)] = [:]
  /// Identities with a failure since `unsettledSince`, when they all were to be settled.
  var troubled: Set<String> = []
  var unsettledSince: Int64 = 0
  var isSettled = false
  var rotated = 0
  /// Pauses before a try as parts of the nominal ones: 0.9 to 1.1.
  private(set) var jitters: [Double] = []

  /// Between two tries of an identity. What fails while it lasts joins it.
  struct Pause {
    /// When it began, and nil after it.
    var begin: Int64?
    /// Pauses since the last rotation, and failures, which are as many at least.
    var count = 0
    var failures = 0

    /// 1, 2, 4 ... 60 s.
    static func nominal(_ count: Int) -> Int64 {
      min(60_000_000, 1_000_000 << Int64(min(count - 1, 6)))
    }
  }

  init() {}
}

// MARK: - What it is told

extension Witness {
  mutating func excuseAll(until end: Int64) { excuse = max(excuse, end) }

  /// The host stood still: whoever waited could not be served.
  mutating func excuseStandstill(until end: Int64) {
    excuseAll(until: end)
    standstill = end
  }

  mutating func excuse(_ path: Path, until end: Int64) {
    excuses[path] = max(excuses[path] ?? 0, end)
  }

  func isExcused(_ path: Path, at time: Int64) -> Bool {
    max(excuse, excuses[path, default: 0]) > time
  }

  /// Somebody takes away what is at `path`; where a reload comes with it, that is to see to it.
  mutating func lose(_ path: Path, at time: Int64, isReloading: Bool = false) {
    lost.insert(path)
    if isReloading { return }
    bereft.insert(path)
    excuse(path, until: time + Witness.moment)
  }

  /// A look at `path` comes back.
  mutating func find(_ path: Path) { lost.remove(path) }

  /// Nobody knows of what was left at `path`.
  mutating func abandon(_ path: Path) { abandoned.insert(path) }

  /// Something made all pauses end.
  mutating func forgetPaces() {
    failed = [:]
    failedMinting = [:]
    // By a clock that was set back, new tokens can be older.
    waiting = waiting.mapValues { ($0.names, $0.since, .min / 2_000_000) }
    // How many there were is not forgotten by the rotator: the next may be short or long.
    pauses = pauses.mapValues { _ in Pause(begin: nil, count: 0, failures: 7) }
  }

  mutating func restart(at time: Int64) {
    excuseAll(until: time + Witness.moment)
    forgetPaces()
    board = [:]
    pauses = [:]
    reported = [:]
    reportedMinting = [:]
    told = [:]
    owed = [:]
    asked = [:]
    waiting = [:]
    unsettle(at: time)
  }

  private mutating func unsettle(at time: Int64) {
    troubled.formIntersection(board.keys)
    unsettledSince = time
    isSettled = false
  }

  /// A reload put `identities` in place of `before`, and says that it made `changes`.
  mutating func apply(
    _ identities: [Identity], _ changes: Changes, over before: [Identity], at time: Int64
  ) throws {
    var expected = Changes()
    let former = Dictionary(uniqueKeysWithValues: before.map { ($0.name, $0) })
    for identity in identities {
      switch former[identity.name] {
      case identity?: expected.kept += 1
      case nil: expected.added += 1
      default: expected.changed += 1
      }
    }
    expected.removed = before.count - expected.kept - expected.changed
    guard changes == expected else { throw Violation("\(changes) in place of \(expected)") }
    excuseAll(until: time + Witness.moment)
    forgetPaces()
    for identity in before where !identities.contains(where: { $0.rotates(as: identity) }) {
      board[identity.name] = nil
      reportedMinting[identity.name] = nil
      told[identity.name] = nil
      owed[identity.name] = nil
      asked[identity.name] = nil
      waiting = waiting.mapValues { ($0.names.subtracting([identity.name]), $0.since, $0.second) }
      for delivery in identity.deliveries { reported[delivery.path] = nil }
    }
    unsettle(at: time)
  }

  /// Somebody asks for new tokens.
  mutating func ask(_ request: RotationRequest, _ clock: SimulatedClock) {
    waiting[request.id] = (request.names, clock.time, clock.now.wholeSeconds)
    for name in request.names {
      for delivery in board[name]?.identity.deliveries ?? [] { failed[delivery.path] = nil }
      failedMinting[name] = nil
      pauses[name] = Pause(begin: nil, count: 0, failures: 7)
      asked[name] = board[name]?.counts.issueFailures ?? 0
      lastAsked[name] = clock.time
    }
  }

  /// They have been minted, or minting has failed, at once.
  func checkAsked(_ names: Set<String>) throws {
    for name in names where asked[name] != nil {
      guard let counts = board[name]?.counts, counts.issueFailures > asked[name]! else {
        throw Violation("\(name) was not rotated when it was asked for")
      }
    }
  }

  /// All tokens of the key of this name are of a new one at once.
  func checkKey(_ name: String, _ keys: SimulatedKeys) throws {
    for status in board.values
    where status.identity.key == name
      && status.token.map({ $0.origin != .key(keys[name].keyID) })
        ?? status.identity.lasting.isEmpty
    {
      throw Violation("\(status.identity.name) was not minted with the new key at once")
    }
  }

  /// A job failed at a place that is out of order until `end`.
  mutating func fail(
    _ job: Job, until end: Int64, _ clock: SimulatedClock, _ identities: [Identity]
  ) {
    let path = job.delivery.path
    excuse(path, until: end + Witness.longestPause)
    // A removal that fails is reported, and left to the operator.
    guard case .write(let bytes) = job.operation else { return abandon(path) }
    // One of an earlier configuration: whoever has the place now has no token for it yet.
    if identities.contains(where: { owner in
      owner.deliveries.contains { $0.path == path } && board[owner.name]?.token == nil
    }) {
      return
    }
    failed[path] = (bytes, clock.time)
    for identity in identities where identity.deliveries.contains(where: { $0.path == path }) {
      pause(identity.name, at: clock.time)
    }
  }

  /// What is at `path` is somebody else's: whoever delivers there fails.
  mutating func spare(_ path: Path, _ identities: [Identity], at time: Int64) {
    excuse(path, until: time + Witness.longestPause)
    for identity in identities where identity.deliveries.contains(where: { $0.path == path }) {
      // Looks are tried again in the same pace; it is not told when they begin.
      pauses[identity.name] = Pause(begin: nil, count: 0, failures: 7)
    }
  }

  mutating func succeed(_ job: Job) {
    let path = job.delivery.path
    failed[path] = nil
    abandoned.remove(path)
    bereft.remove(path)
  }

  /// What is put up changes; says whether anything was done.
  mutating func learn(_ statuses: [IdentityStatus], _ clock: SimulatedClock) throws -> Bool {
    var hasActed = false
    for status in statuses {
      let name = status.identity.name
      let before = board[name]
      board[name] = status
      let issued = status.counts.issued - (before?.counts.issued ?? 0)
      let failures = status.counts.issueFailures - (before?.counts.issueFailures ?? 0)
      hasActed = hasActed || issued + failures > 0
      if let words = reportedMinting[name],
        !status.failures.contains(where: { $0.description == words })
      {
        // It worked, or is not needed any more.
        reportedMinting[name] = nil
        failedMinting[name] = nil
        hasActed = true
      }
      if status.failures.isEmpty, before?.failures.isEmpty == false {
        // All works again: the rotator may have begun to count anew, or not.
        pauses[name] = Pause(begin: nil, count: 0, failures: 7)
      }
      guard issued + failures <= 1 else { throw Violation("\(name) was minted twice at once") }
      if issued > 0 {
        pauses[name]?.begin = nil
        // What failed before the first token was another configuration's.
        if before?.token == nil { pauses[name] = Pause(begin: nil, count: 0, failures: 7) }
        if let old = before?.token { try checkCause(status, old, clock) }
      }
      if failures > 0 {
        if status.identity.key == SimulatedKeys.device {
          // It is not told when the try began.
          pauses[name] = Pause(begin: nil, count: 0, failures: 7)
        } else {
          if failedMinting[name] != nil { try endPause(name, at: clock.time) }
          failedMinting[name] = clock.time
          pause(name, at: clock.time)
        }
      }
      if issued > 0 { asked[name] = nil }
    }
    return hasActed
  }

  // MARK: Pauses

  /// A job begins to write `held`.
  mutating func begin(
    _ held: Held, _ path: Path, of identities: [Identity], _ clock: SimulatedClock
  ) throws {
    guard
      let identity = identities.first(where: { $0.deliveries.contains { $0.path == path } }),
      held.bearer == identity.bearer.name
    else { throw Violation("\(path) is to hold another identity's token") }
    guard failed[path]?.bytes == held.bytes else { return }
    try endPause(identity.name, at: clock.time)
  }

  /// Something of an identity failed.
  mutating func pause(_ name: String, at time: Int64) {
    pauses[name, default: Pause()].failures += 1
    guard pauses[name]!.begin == nil else { return }
    pauses[name]!.begin = time
    pauses[name]!.count += 1
  }

  /// What failed of an identity is tried again.
  private mutating func endPause(_ name: String, at time: Int64) throws {
    guard let pause = pauses[name], let begin = pause.begin, begin < time else { return }
    let part = Double(time - begin) / Double(Pause.nominal(pause.count))
    // Where paces were forgotten, the first pause may have begun before.
    guard part > 0.89 || pause.count == 1 && pause.failures > 7 else {
      throw Violation("\(name) tried again after \(time - begin) µs, pause \(pause.count)")
    }
    // While the host stands still, a pause lasts.
    if pause.count == pause.failures, excuse <= time { jitters.append(part) }
    pauses[name]!.begin = nil
  }
}

// MARK: - What must hold

extension Witness {
  /// Freshness, no future `iat`, the right key and the right identity, for whoever reads now.
  func look(
    at places: [Path: Held], _ clock: SimulatedClock, _ keys: SimulatedKeys,
    only identities: [Identity]
  ) throws {
    guard excuse <= clock.time else { return }
    for identity in identities {
      let keyID = keys[identity.key].keyID
      if let token = board[identity.name]?.token {
        try check(token, of: identity, "the query socket", clock, keyID)
      } else if identity.lasting.contains(where: { excuses[$0.path, default: 0] > clock.time }) {
        // It waits for a look at that place, until it is noted as hanging.
        guard clock.time - unsettledSince > Witness.patience else { continue }
        throw Violation("\(identity.name) waits for a place that hangs")
      } else {
        throw Violation("there is no token of \(identity.name) for the query socket")
      }
      for path in identity.deliveries.lazy.map(\.path)
      where excuses[path, default: 0] <= clock.time {
        guard let held = places[path] else {
          throw Violation("\(path) of \(identity.name) holds no token")
        }
        guard held.bearer == identity.bearer.name else {
          throw Violation("\(path) holds another token than \(identity.name)'s")
        }
        try check(held.token, of: identity, path.description, clock, keyID)
      }
    }
  }

  private func check(
    _ token: Token, of identity: Identity, _ place: String, _ clock: SimulatedClock, _ keyID: KeyID
  ) throws {
    guard token.issuedAt <= clock.now else {
      throw Violation("\(place) holds a token of the future")
    }
    let left = token.expiresAt - clock.now
    guard left > identity.refreshBefore else {
      throw Violation("\(place) holds a stale token of \(identity.name): \(left) left")
    }
    guard token.origin == .key(keyID) else {
      throw Violation("\(place) holds a token of \(token.origin)")
    }
    guard token.expiresAt - token.issuedAt == identity.lifetime else {
      throw Violation("\(place) holds a token of another life than \(identity.name)'s")
    }
  }

  /// A new token replaces `old` when that is due, and otherwise for a cause only.
  private func checkCause(_ status: IdentityStatus, _ old: Token, _ clock: SimulatedClock) throws {
    let identity = status.identity
    guard let token = status.token, old.origin == token.origin, asked[identity.name] == nil,
      old.issuedAt <= clock.now
    else { return }
    let left = old.expiresAt - clock.now - identity.refreshBefore
    let isWaitedFor =
      identity.key == SimulatedKeys.device
      && clock.time - lastAsked[identity.name, default: .min / 2] < 25_000_000
    guard left <= identity.mostSpread || isWaitedFor else {
      throw Violation("\(identity.name) was rotated without a cause, \(left) before its threshold")
    }
    // Tokens of a few seconds are replaced a second after their `iat` at the earliest.
    if excuse <= clock.time, identity.lifetime >= .seconds(60),
      identity.key != SimulatedKeys.device || deviceExcuse <= clock.time,
      left < identity.leastSpread - .milliseconds(10)
    {
      throw Violation("\(identity.name) was rotated late, \(left) before its threshold")
    }
  }

  /// What the rotator says of itself is so.
  mutating func compare(
    _ turn: Turn, _ identities: [Identity], _ places: [Path: Held], _ clock: SimulatedClock
  ) throws {
    guard turn.totals.identities == identities.count, board.count == identities.count,
      turn.totals.failing == board.values.count(where: { !$0.failures.isEmpty })
    else { throw Violation("identities, or failing ones, are counted wrongly") }
    for status in board.values { try checkReports(status, clock) }
    if turn.totals.unsettled > 0 {
      // One job may have to come back, or be noted as stalled, before the one that counts; while
      // the host stands still, nobody is patient.
      guard clock.time - unsettledSince <= 2 * Witness.patience || standstill > clock.time else {
        throw Violation("neither delivered nor reported as failing, and no READY")
      }
    } else if !isSettled {
      isSettled = true
      for status in board.values
      where
        (status.isMissing || status.token == nil
        || status.identity.lasting.contains { places[$0.path] == nil })
        && !status.identity.lasting.contains(where: { bereft.contains($0.path) })
        && !troubled.contains(status.identity.name)
      {
        throw Violation("ready, and \(status.identity.name) is not delivered")
      }
    }
    // What fails while somebody waits is known to him, even when it is over at the end.
    let failing = Set(board.values.lazy.filter { !$0.failures.isEmpty }.map(\.identity.name))
    waiting = waiting.mapValues { ($0.names.subtracting(failing), $0.since, $0.second) }
    for id in turn.answered {
      guard let (names, _, second) = waiting.removeValue(forKey: id) else {
        throw Violation("request \(id) is answered twice")
      }
      // Either nothing failed and all is there, or what failed is known.
      for name in names {
        if let status = board[name], status.failures.isEmpty,
          status.isMissing
            || status.oldestExpiry! - status.identity.lifetime < Instant(seconds: second)
        {
          throw Violation("whoever asked for \(name) is answered before it is there")
        }
      }
    }
    // One job may have to come back, or be noted as hanging, before the one that counts.
    for (names, since, _) in waiting.values
    where clock.time - since > 2 * Witness.patience && standstill <= clock.time {
      throw Violation("whoever asked for \(names.sorted()) waits for ever")
    }
  }

  /// Nothing is left behind, what is put up is true, and what failed is tried again. Places in
  /// `looks` are being looked at: until then, nobody knows of what was lost there.
  func checkRest(
    of held: [Path: Held], _ identities: [Identity], _ running: [Path], looks: [Path],
    _ time: Int64
  ) throws {
    let wanted = Set(identities.lazy.flatMap { $0.deliveries.lazy.map(\.path) })
    for path in held.keys
    where !wanted.contains(path) && !running.contains(path) && !abandoned.contains(path) {
      guard max(excuse, excuses[path, default: 0]) > time else {
        throw Violation("\(path) was left behind")
      }
    }
    for identity in identities {
      guard let status = board[identity.name], !status.isMissing,
        !identity.deliveries.contains(where: { looks.contains($0.path) })
      else { continue }
      let expiries = identity.deliveries.map { held[$0.path]?.token.expiresAt }
      guard expiries.isEmpty || !expiries.contains(nil),
        expiries.isEmpty || status.oldestExpiry == expiries.lazy.compactMap(\.self).min()
      else { throw Violation("what is put up of \(identity.name) is not so") }
    }
    guard excuse <= time else { return }
    for (path, last) in failed where wanted.contains(path) && !running.contains(path) {
      let owner = identities.first { $0.deliveries.contains { $0.path == path } }!
      let longest = Pause.nominal(pauses[owner.name]?.failures ?? 1) * 111 / 100
      guard time - last.at <= longest else { throw Violation("\(path) is not tried again") }
    }
    for (name, last) in failedMinting where time - last > Witness.longestPause {
      throw Violation("minting for \(name) is not tried again")
    }
  }
}

extension Identity {
  var window: Duration { lifetime - refreshBefore }
  /// By how much a rotation is due before the threshold: contract, section 4, point 2.
  var leastSpread: Duration { min(window * 0.02, .seconds(180)) }
  var mostSpread: Duration { min(window * 0.10, .seconds(900)) }
}
