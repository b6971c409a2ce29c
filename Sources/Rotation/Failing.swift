/// When something of one subject fails, and when there is nothing more to wait for.
extension RotationState {
  /// A failed try at a delivery, or at `minting`: what was delivered stays, and the subject tries
  /// again later.
  mutating func fail(
    _ key: Int, _ failure: Failure, _ agenda: inout Agenda,
    _ random: inout some RandomNumberGenerator
  ) {
    if key == RotationState.minting {
      counts.issueFailures += 1
    } else {
      counts.deliveryFailures += 1
    }
    record(key, failure, &agenda)
    guard !isPausing(at: agenda.now) else { return }
    let jitter = Double.random(
      in: 1 - Limits.retryJitter...1 + Limits.retryJitter, using: &random)
    retryAt = agenda.now + backoff.next() * jitter
  }

  /// The job at `position` has not come back for longer than it should.
  mutating func stall(_ position: Int, _ agenda: inout Agenda) {
    agenda.stalled.insert(path(position))
    recordStalled(position, &agenda)
  }

  /// The key that is to sign its token has not for longer than it should.
  mutating func recordUnsigned(_ agenda: inout Agenda) {
    // What failed last says more.
    guard failures[RotationState.minting] == nil else { return }
    record(
      RotationState.minting,
      Failure("the key \(subject.key) does not answer: what signs with it hangs, or is busy"),
      &agenda)
  }

  /// The job at `position`, or another one at its path, keeps it from its token.
  mutating func recordStalled(_ position: Int, _ agenda: inout Agenda) {
    unanswered.remove(position)
    // Its other places do not wait for this one.
    unread.remove(position)
    suspect.remove(position)
    record(
      position,
      Failure(
        "\(path(position)): writing hangs: is its file system, or the disk under it, in trouble?"),
      &agenda)
    // Its hooks do not wait for a look either.
    if token != nil, isDelivered { completeRotation(&agenda) }
    plan(&agenda)
  }

  /// Keeps the failure, and reports it unless it is the one already known.
  private mutating func record(_ key: Int, _ failure: Failure, _ agenda: inout Agenda) {
    guard failures[key] != failure else { return }
    if failures.isEmpty, subject.identity != nil { agenda.totals.failing += 1 }
    failures[key] = failure
    guard key != RotationState.minting else {
      return agenda.report(.mintFailed(subject.name, failure))
    }
    agenda.report(
      .deliveryFailed(
        subject.name, path: path(key), failure, holdsToken: held[key] != nil))
  }

  /// Forgets a failure; says whether there was one.
  @discardableResult
  mutating func clearFailure(_ key: Int, _ agenda: inout Agenda) -> Bool {
    guard failures.removeValue(forKey: key) != nil else { return false }
    if failures.isEmpty, subject.identity != nil { agenda.totals.failing -= 1 }
    return true
  }

  /// The delivery holds what it should: its failure, if it had one, is over.
  mutating func recover(_ position: Int, _ agenda: inout Agenda) {
    guard clearFailure(position, &agenda) else { return }
    agenda.report(.deliveryRecovered(subject.name, path: path(position)))
  }

  /// Reports, once each, that a failing identity's oldest token went stale or expired.
  mutating func reportAge(_ agenda: inout Agenda) {
    guard !failures.isEmpty, let oldest = oldestHeld, let identity = subject.identity else {
      return
    }
    let freshness = identity.freshness(ofTokenExpiring: oldest, at: agenda.now)
    guard freshness > reportedFreshness(ofTokenExpiring: oldest) else { return }
    reported = (oldest, freshness)
    agenda.report(
      freshness == .stale
        ? .stale(identity: identity.name, expiresAt: oldest)
        : .expired(identity: identity.name, expiresAt: oldest))
  }

  /// Once every delivery has its token or a failure that was reported, there is nothing to wait
  /// for.
  mutating func settleIfAccountedFor(_ agenda: inout Agenda) {
    guard !isSettled else { return }
    let isAccountedFor =
      token != nil && unread.isEmpty
      && held.indices.allSatisfy { !undelivered.contains($0) || failures[$0] != nil }
    if isAccountedFor || failures[RotationState.minting] != nil { settle(&agenda) }
  }

  mutating func settle(_ agenda: inout Agenda) {
    guard !isSettled else { return }
    isSettled = true
    agenda.totals.unsettled -= 1
  }
}
