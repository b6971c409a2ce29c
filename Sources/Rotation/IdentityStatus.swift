/// How one identity stands at a moment: what may be known of it, and its token for those who may
/// have it.
package struct IdentityStatus: Sendable {
  package let identity: Identity
  /// Its number, as in `Turn.numbers`.
  package let number: Int
  /// The newest token; nil before the first.
  package let token: Token?
  /// Whether the first token is still to come: its places are being looked at, and minting has not
  /// failed.
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

  /// Nil for what is no identity.
  init?(_ state: RotationState) {
    guard let identity = state.subject.identity else { return nil }
    self.identity = identity
    number = state.number
    token = state.token
    isAwaited = state.token == nil && state.failures[RotationState.minting] == nil
    isMissing = state.oldestHeld == nil || state.held.contains(nil)
    oldestExpiry = state.oldestHeld
    failures = state.failures.sorted { $0.key < $1.key }.map(\.value)
    retryAt = state.failures.isEmpty ? nil : state.retryAt
    counts = state.counts
  }

  /// When the token is due to be replaced.
  package var refreshAt: Instant? { token.map { identity.due($0) } }

  /// That of the token in use that ends first; `.missing` when a delivery holds none.
  package func freshness(at now: Instant) -> Freshness {
    guard let oldestExpiry, !isMissing else { return .missing }
    return identity.freshness(ofTokenExpiring: oldestExpiry, at: now)
  }
}
