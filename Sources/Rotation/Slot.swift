/// How an identity stands: by the oldest token that one of its deliveries holds.
package enum State: Int, Comparable, Sendable {
  /// Above the threshold; at or below it; at its end; never delivered.
  case fresh, stale, expired, missing

  package static func < (left: State, right: State) -> Bool { left.rawValue < right.rawValue }
}

/// What the rotator keeps of one identity.
struct Slot {
  let identity: Identity
  /// The newest token; nil before the first.
  var token: Token?
  /// Counts the tokens, so that a late job can tell whether its token is still the newest.
  var issue = 0
  /// The issue last reported as delivered everywhere.
  var announced = 0
  /// Deliveries that do not hold `token` yet, and those with a job at work.
  var undelivered = Positions()
  var running = Positions()
  /// Deliveries whose place is to be looked at since they were configured: until then, the
  /// identity has no first token.
  var unread: Positions
  /// Deliveries whose place is to be looked at because somebody may have changed it.
  var suspect = Positions()
  /// Deliveries whose place this run may write: it held a token, or nothing, at the first look.
  var claimed = Positions()
  /// The token that the deliveries in `agreeing` were found to hold.
  var candidate: Token?
  var agreeing = Positions()
  /// The `exp` of the token that each delivery holds; nil for none.
  var held: [Int64?]
  /// Tries that failed since the last complete delivery, and when the next one is.
  var attempts = 0
  var retryAt: Instant?
  /// The failure of each delivery, by position; minting's is at `Slot.minting`.
  var failures: [Int: Failure] = [:]
  /// The last report that the oldest token in a delivery, of this `exp`, was stale or expired.
  var reported: (expiry: Int64, age: State)?
  /// Whether a new token was asked for before the old one is due; then, the issue that it has, and
  /// the deliveries that have neither got it, nor failed to, since.
  var isForced = false
  var forcedIssue = 0
  var unanswered = Positions()
  var counts = Standing.Counts()
  /// Whether it was delivered, or a failure reported, since it was configured.
  var isSettled = false

  static let minting = -1

  /// The paths in `ours` were written by this run already, for another identity or in another way.
  init(_ identity: Identity, ours: Set<Path> = []) {
    self.identity = identity
    held = Array(repeating: nil, count: identity.deliveries.count)
    unread = identity.lastingPositions
    for (position, delivery) in identity.deliveries.enumerated()
    where !delivery.isLasting || ours.contains(delivery.path) { claimed.insert(position) }
  }

  /// The paths that this run may have written.
  var ours: [Path] {
    identity.deliveries.enumerated().filter { claimed.contains($0.offset) }.map(\.element.path)
  }

  /// Whether what its places hold is still to be known before the first token is chosen.
  var awaitsLooks: Bool { token == nil && !unread.isEmpty }

  /// Whether every delivery is known to hold `token`.
  var isDelivered: Bool { undelivered.isEmpty && unread.isEmpty }

  func needsToken(at now: Instant, keyID: KeyID) -> Bool {
    guard let token, !isForced else { return true }
    return identity.due(token) <= now || token.issued > now || token.keyID != keyID
  }

  /// Whether its next try is still to come.
  func isPausing(at now: Instant) -> Bool { retryAt.map { $0 > now } ?? false }

  /// Whether no other token made at `now` would live longer.
  func isNewest(at now: Instant, keyID: KeyID) -> Bool {
    !isForced && token?.issuedAt == now.wholeSeconds && token?.keyID == keyID
  }

  /// Whoever asked for a rotation has it once the newest token is where it lacks now, or failed to
  /// get there; paths that hang are not waited for.
  mutating func awaitDeliveries(hanging: Set<Path>) {
    forcedIssue = issue
    unanswered = Positions()
    for (position, delivery) in identity.deliveries.enumerated()
    where undelivered.contains(position) && !hanging.contains(delivery.path) {
      unanswered.insert(position)
    }
  }

  /// When the next token is to be minted: `now`, or when the present one is due.
  func nextToken(after now: Instant, keyID: KeyID) -> Instant {
    guard let token, !needsToken(at: now, keyID: keyID) else { return now }
    return identity.due(token)
  }

  /// Takes over a token that every lasting delivery holds already; the others get it anew.
  mutating func adopt(_ token: Token) {
    self.token = token
    issue += 1
    announced = issue
    held = identity.deliveries.map { $0.isLasting ? token.expiresAt : nil }
    undelivered = Positions()
    for position in held.indices where held[position] == nil { undelivered.insert(position) }
  }

  /// The earliest `exp` among the deliveries that hold a token; without deliveries, the token's.
  var oldestHeld: Int64? {
    identity.deliveries.isEmpty ? token?.expiresAt : held.compactMap(\.self).min()
  }

  func state(at now: Instant) -> State { held.contains(nil) ? .missing : age(at: now) }

  /// The state of the oldest token that a delivery holds; `.missing` when none holds any.
  func age(at now: Instant) -> State {
    guard let oldest = oldestHeld else { return .missing }
    return identity.state(ofTokenExpiring: Instant(seconds: oldest), at: now)
  }

  /// The worst state already reported of a token that ends at `expiry`.
  func reportedAge(of expiry: Int64) -> State {
    guard let reported, reported.expiry == expiry else { return .fresh }
    return reported.age
  }

  /// When the oldest token next becomes stale or expired and that is still to be reported.
  func nextAging(after now: Instant) -> Instant? {
    guard let oldestHeld else { return nil }
    let expiry = Instant(seconds: oldestHeld)
    let moments = [(State.stale, expiry - identity.refreshBefore), (State.expired, expiry)]
    return moments.first { $0.1 > now && $0.0 > reportedAge(of: oldestHeld) }?.1
  }
}

extension Identity {
  /// Where the deliveries stand whose content outlives the daemon.
  var lastingPositions: Positions {
    Positions(deliveries.indices.lazy.filter { deliveries[$0].isLasting })
  }
}

extension Token {
  /// The moment of `iat`.
  var issued: Instant { Instant(seconds: issuedAt) }
}

/// A set of positions in a list of at most `Limits.deliveries`.
struct Positions: Equatable {
  private var bits: UInt64 = 0

  init() {}
  /// The positions `0..<count`.
  init(upTo count: Int) { bits = count >= 64 ? .max : 1 << UInt64(count) - 1 }
  init(_ positions: some Sequence<Int>) { for position in positions { insert(position) } }

  var isEmpty: Bool { bits == 0 }
  func contains(_ position: Int) -> Bool { bits >> UInt64(position) & 1 == 1 }
  mutating func insert(_ position: Int) { bits |= 1 << UInt64(position) }
  mutating func remove(_ position: Int) { bits &= ~(1 << UInt64(position)) }
  mutating func subtract(_ others: Positions) { bits &= ~others.bits }
}
