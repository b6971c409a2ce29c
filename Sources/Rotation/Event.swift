/// All that the daemon reports, closed: to add a case is to give it a message, a MESSAGE_ID and a
/// catalogue entry. Carries no token or secret bytes.
package enum Event: Sendable {
  // Tokens
  /// A new token is in every delivery of its identity.
  case rotated(TokenSummary)
  /// An earlier run's token was found in every delivery, and stays.
  case kept(TokenSummary)
  case mintFailed(identity: String, Failure)
  case deliveryFailed(identity: String, path: Path, Failure)
  case deliveryRecovered(identity: String, path: Path)
  /// While deliveries fail, the oldest token left in one of them has come to the threshold ...
  case stale(identity: String, expiresAt: Instant)
  /// ... or has ended.
  case expired(identity: String, expiresAt: Instant)
  case removed(path: Path)
  case removalFailed(path: Path, Failure)

  // Key and clock
  case keyChanged(KeyID)
  case secretUnreadable(Failure)
  case secretReadable
  /// The wall clock was set by this much, or the machine resumed.
  case clockSet(Duration)

  // Callers
  /// A caller was refused what it may not do; `deed` is in words.
  case refused(user: UInt32, unit: String?, deed: String)

  // Hooks
  case hookFailed(hook: String, Failure)
  case hookRecovered(hook: String)
  /// A line that a hook printed.
  case hookOutput(hook: String, line: String)

  // The daemon itself
  case started(version: String, identities: Int)
  case ready(identities: Int)
  case reloaded(Changes)
  case reloadRefused(String)
  case warning(String)
  case stopping(signal: String)
}

/// What may be known of a token.
package struct TokenSummary: Sendable {
  package let identity: String
  package let userID: String
  package let role: Role
  package let expiresAt: Instant
  package let refreshAt: Instant
  package let keyID: KeyID

  init(_ token: Token, of identity: Identity) {
    self.identity = identity.name
    userID = identity.userID
    role = identity.role
    expiresAt = token.expiry
    refreshAt = identity.due(token)
    keyID = token.keyID
  }
}

/// What a reload did, as numbers of identities.
package struct Changes: Sendable, Equatable {
  package var kept = 0
  package var added = 0
  package var changed = 0
  package var removed = 0
}
