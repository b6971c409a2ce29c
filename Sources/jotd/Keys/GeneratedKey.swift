import Rotation

/// A ring of keys that jotd makes itself.
struct GeneratedKey: Sendable {
  /// Where the private keys and the ring's state are.
  let folder: Path
  /// See `KeyRing.Policy`.
  let rotateEvery: Duration?
  let publishAhead: Duration

  /// What does not go together; nil when all does.
  var fault: String? {
    if publishAhead < .zero || publishAhead > Limits.longestLifetime {
      return "publish_ahead (\(publishAhead.timeSpan)) is from 0s to 10 years"
    }
    guard let rotateEvery else { return nil }
    if rotateEvery > Limits.longestLifetime { return "rotate_every is at most 10 years" }
    // The next is made, published and known in that time.
    return rotateEvery >= publishAhead + Limits.shortestRotation
      ? nil
      : "rotate_every (\(rotateEvery.timeSpan)) must be longer than publish_ahead "
        + "(\(publishAhead.timeSpan)) by at least \(Limits.shortestRotation.timeSpan)"
  }

  /// What speaks against tokens that live so long; nil when nothing does.
  func fault(longestLife: Duration) -> String? {
    guard let rotateEvery else { return nil }
    // One signs, one is the next, and the others stay for their tokens.
    let most = rotateEvery * (Limits.keyMembers - 2)
    return longestLife + KeyRing.margin(ofLife: longestLife) <= most
      ? nil
      : "rotate_every (\(rotateEvery.timeSpan)) is too short for tokens of "
        + "\(longestLife.timeSpan): at most \(Limits.keyMembers) keys are published at once, so "
        + "say at least a \(Limits.keyMembers - 2)th of the longest lifetime"
  }
}
