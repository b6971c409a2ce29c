/// How one identity stands at a moment: what may be known of it, and its token for those who may
/// have it.
package struct Standing: Sendable {
  package let identity: Identity
  /// The newest token; nil before the first.
  package let token: Token?
  /// Whether its first token is on its way: its places are looked at before.
  package let isAwaited: Bool
  /// Whether a delivery holds no token at all, and the earliest `exp` among those that do.
  package let isMissing: Bool
  package let oldestExpiry: Instant?
  /// What fails now, in the order of the deliveries, and when the next try is.
  package let failures: [Failure]
  package let retryAt: Instant?
  package let counts: Counts

  /// What happened to an identity since the daemon began.
  package struct Counts: Sendable {
    package var issued = 0
    package var issueFailures = 0
    package var delivered = 0
    package var deliveryFailures = 0
  }

  init(_ slot: Slot) {
    identity = slot.identity
    token = slot.token
    isAwaited = slot.token == nil && slot.failures[Slot.minting] == nil
    isMissing = slot.oldestHeld == nil || slot.held.contains(nil)
    oldestExpiry = slot.oldestHeld.map { Instant(seconds: $0) }
    failures = slot.failures.sorted { $0.key < $1.key }.map(\.value)
    retryAt = slot.failures.isEmpty ? nil : slot.retryAt
    counts = slot.counts
  }

  /// When the token is due to be replaced.
  package var refreshAt: Instant? { token.map { identity.due($0) } }

  package func state(at now: Instant) -> State {
    guard let oldestExpiry, !isMissing else { return .missing }
    return identity.state(ofTokenExpiring: oldestExpiry, at: now)
  }
}

extension Identity {
  /// The state of a token of this identity that ends at `expiry`.
  package func state(ofTokenExpiring expiry: Instant, at now: Instant) -> State {
    if expiry <= now { return .expired }
    return expiry - now <= refreshBefore ? .stale : .fresh
  }
}

/// How late rotations began, as a histogram: seconds after they were due.
package struct Lateness: Sendable {
  /// Upper bounds in seconds; one more bucket is for all that is later.
  package static let bounds = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 10, 60]
  /// Counts up to and including each bound, not cumulative.
  package private(set) var counts = [Int](repeating: 0, count: bounds.count + 1)
  package private(set) var sum = 0.0

  package init() {}

  mutating func record(_ late: Duration) {
    let seconds = max(0, Double(late.microseconds) / 1e6)
    counts[Lateness.bounds.firstIndex { seconds <= $0 } ?? Lateness.bounds.count] += 1
    sum += seconds
  }
}
