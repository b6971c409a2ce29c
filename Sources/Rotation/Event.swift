/// All that the daemon reports, closed: to add a case is to give it a message, a MESSAGE_ID and a
/// catalogue entry. Carries no token or secret bytes.
package enum Event: Sendable {
  // Tokens
  /// A new token is in every delivery of its identity.
  case rotated(TokenSummary)
  /// An earlier run's token was found in every file of its identity, and stays.
  case kept(TokenSummary)
  case mintFailed(Subject.Name, Failure)
  /// `holdsToken`: readers still find one there that was delivered before.
  case deliveryFailed(Subject.Name, path: Path, Failure, holdsToken: Bool)
  case deliveryRecovered(Subject.Name, path: Path)
  /// Somebody took away or changed what was delivered; it is put back.
  case displaced(Subject.Name, path: Path, by: Displacement)
  /// While minting or a delivery fails, the oldest token in use has come to the threshold ...
  case stale(identity: String, expiresAt: Instant)
  /// ... or has ended.
  case expired(identity: String, expiresAt: Instant)
  /// Another JWK Set of the key of this name is at all its places; or the first of this run.
  case published(key: String)
  /// What no identity wants any more is gone. `isEmptied`: emptied, because it is written in place.
  case removed(path: Path, isEmptied: Bool)
  case removalFailed(path: Path, Failure)

  // Key and clock
  /// A key is another one than before. `key` here and below: its name, where keys have names.
  case keyChanged(key: String?, KeyID)
  /// The member of the key's ring is in another state; `until` is when the next is expected.
  case ringChanged(key: String, KeyRing.Member, until: Instant?)
  case ringFailed(key: String, Failure)
  case ringRecovered(key: String)
  case secretUnreadable(key: String?, Failure)
  case secretReadable(key: String?)
  /// The device that holds a key does not answer, or not with the key; or does again.
  case deviceFailed(key: String?, Failure)
  case deviceRecovered(key: String?)
  /// The wall clock was set by this much, or the machine resumed.
  case clockSet(Duration)

  // Callers
  /// A caller was refused what it may not do; `operation` is in words, and `name` the user's if
  /// known.
  case refused(user: UInt32, name: String?, unit: String?, operation: String)

  /// A unit has a token as its credential, and nothing is to tell it of the next one.
  case notRenewed(identity: String, unit: String, expiresAt: Instant)

  // Hooks
  /// `isRetried`: it is tried again, and does not wait for the next rotation.
  case hookFailed(hook: String, Failure, isRetried: Bool)
  case hookRecovered(hook: String)
  /// A line that a hook printed.
  case hookOutput(hook: String, line: String)

  // The daemon itself
  case started(version: String, identities: Int)
  /// It does not start, for a reason in words.
  case startRefused(String)
  /// Every delivery has its token, or its failure was reported. `names` are those of the failing
  /// identities, `Limits.namesShown` at most.
  case ready(identities: Int, failing: Int, names: [String])
  case reloaded(Changes)
  case reloadRefused(String)
  case warning(String)
  case stopping(signal: String)
}
