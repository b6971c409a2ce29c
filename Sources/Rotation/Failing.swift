/// When something fails, and when there is nothing more to wait for.
extension Rotator {
  /// A failed try at `position`, or at minting when that is nil: what was delivered stays, and
  /// the identity tries again later.
  mutating func fail(
    _ slot: Int, _ position: Int?, _ failure: Failure, at now: Instant,
    _ random: inout some RandomNumberGenerator
  ) {
    if position == nil {
      slots[slot].counts.issueFailures += 1
    } else {
      slots[slot].counts.deliveryFailures += 1
    }
    record(slot, position, failure)
    guard slots[slot].retryAt == nil else { return }
    let doubled = Limits.firstRetry * (1 << min(slots[slot].attempts, 16))
    let pause = min(doubled, Limits.longestRetry)
    let jitter = Double.random(
      in: 1 - Limits.retryJitter...1 + Limits.retryJitter, using: &random)
    slots[slot].attempts += 1
    slots[slot].retryAt = now + pause * jitter
  }

  mutating func recordHanging(_ path: Path, at now: Instant) {
    guard let (slot, position) = places[path] else { return }
    slots[slot].unanswered.remove(position)
    // Its other places do not wait for this one.
    slots[slot].unread.remove(position)
    slots[slot].suspect.remove(position)
    record(
      slot, position,
      Failure("\(path): writing hangs: is its file system, or the disk under it, in trouble?"))
    plan(slot, at: now)
  }

  /// Keeps the failure, and reports it unless it is the one already known.
  mutating func record(_ slot: Int, _ position: Int?, _ failure: Failure) {
    let key = position ?? Slot.minting
    guard slots[slot].failures[key] != failure else { return }
    if slots[slot].failures.isEmpty { failing += 1 }
    slots[slot].failures[key] = failure
    let identity = slots[slot].identity
    report(
      position.map {
        .deliveryFailed(
          identity: identity.name, path: identity.deliveries[$0].path, failure,
          holdsToken: slots[slot].held[$0] != nil)
      } ?? .mintFailed(identity: identity.name, failure))
  }

  /// Forgets a failure; says whether there was one.
  @discardableResult
  mutating func clearFailure(_ slot: Int, _ position: Int?) -> Bool {
    guard slots[slot].failures.removeValue(forKey: position ?? Slot.minting) != nil else {
      return false
    }
    if slots[slot].failures.isEmpty { failing -= 1 }
    return true
  }

  /// The delivery holds what it should: its failure, if it had one, is over.
  mutating func recover(_ slot: Int, _ position: Int) {
    guard clearFailure(slot, position) else { return }
    let identity = slots[slot].identity
    report(
      .deliveryRecovered(identity: identity.name, path: identity.deliveries[position].path))
  }

  /// Reports, once each, that a failing identity's oldest token went stale or expired.
  mutating func reportAge(_ slot: Int, at now: Instant) {
    guard !slots[slot].failures.isEmpty, let oldest = slots[slot].oldestHeld else { return }
    let age = slots[slot].age(at: now)
    guard age > slots[slot].reportedAge(of: oldest) else { return }
    slots[slot].reported = (oldest, age)
    let name = slots[slot].identity.name
    let expiry = Instant(seconds: oldest)
    report(
      age == .stale
        ? .stale(identity: name, expiresAt: expiry) : .expired(identity: name, expiresAt: expiry))
  }

  /// Once every delivery has its token or a failure that was reported, there is nothing to wait for.
  mutating func settleIfAccountedFor(_ slot: Int) {
    guard !slots[slot].isSettled else { return }
    let failures = slots[slot].failures
    let isAccountedFor =
      slots[slot].token != nil && slots[slot].unread.isEmpty
      && slots[slot].held.indices.allSatisfy {
        !slots[slot].undelivered.contains($0) || failures[$0] != nil
      }
    if isAccountedFor || failures[Slot.minting] != nil { settle(slot) }
  }

  mutating func settle(_ slot: Int) {
    guard !slots[slot].isSettled else { return }
    slots[slot].isSettled = true
    unsettled -= 1
  }

  mutating func unsettle(_ slot: Int) {
    guard slots[slot].isSettled else { return }
    slots[slot].isSettled = false
    unsettled += 1
  }
}
