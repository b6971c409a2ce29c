/// The heart of jotd: due -> mint -> deliver -> record -> next.
///
/// A value. Time and randomness come in as arguments, and what is to be done outside goes out as
/// `orders`; the host carries them out and answers each job with `finish`. Invariants, once
/// `advance(to: now)` has returned:
/// - every identity has an entry in the schedule, later than `now`;
/// - no token in use was issued after `now`, is due, or is signed with another key than the
///   current one, unless minting fails;
/// - a delivery has at most one job at a time, and a path never two, across reloads too;
/// - no identity waits for another, unless both want the same path.
package struct Rotator {
  var signer: any Signer
  var minter = Minter()
  var schedule = Schedule()
  var slots: [Slot] = []
  var jobs: [Job.ID: Assignment] = [:]
  private var lastJob: Job.ID = 0
  /// Paths at which a job of an earlier configuration still runs, and the slots that wait for them.
  var busy: Set<Path> = []
  var waiting: [Path: Int] = [:]
  /// Paths at which a job was noted as hanging and has not come back.
  var hanging: Set<Path> = []
  private var latest = Instant(microseconds: .min)
  private var orders: [Order] = []
  var changed: Set<Int> = []

  /// A rotator without identities; `apply` brings them.
  package init(signer: any Signer) { self.signer = signer }

  // MARK: What the host asks of the rotator

  /// The sentence itself. Call when `nextWake` has come, when the clock was set, and after every
  /// other call.
  package mutating func advance(
    to now: Instant, random: inout some RandomNumberGenerator
  ) {
    if now < latest { reconsider(at: now) }
    latest = now
    while let slot = schedule.popDue(at: now) { attend(slot, at: now, &random) }
  }

  /// The moment of the next `advance`; nil when there is nothing to wait for.
  package var nextWake: Instant? { schedule.next }

  /// What is to be done, in this order; each order is handed out once.
  package mutating func takeOrders() -> [Order] {
    defer { orders = [] }
    return orders
  }

  /// Tells the rotator that the clock was set by `step`, or that the machine slept.
  package mutating func clockWasSet(by step: Duration, to now: Instant) {
    report(.clockSet(step))
    reconsider(at: now)
  }

  /// Signs with another key from now on: every token is replaced at once.
  package mutating func use(_ signer: any Signer, at now: Instant) {
    guard signer.keyID != self.signer.keyID else { return }
    self.signer = signer
    report(.keyChanged(signer.keyID))
    for slot in slots.indices {
      slots[slot].retryAt = nil
      schedule.set(slot, due: now)
    }
  }

  /// Replaces the tokens of these identities at once, due or not; names of no identity are passed
  /// over.
  package mutating func rotate(_ names: Set<String>, at now: Instant) {
    for slot in slots.indices where names.contains(slots[slot].identity.name) {
      slots[slot].isForced = true
      slots[slot].retryAt = nil
      schedule.set(slot, due: now)
    }
  }

  /// Whether the token that was last asked for, for one of these identities, is still on its way:
  /// it has been neither delivered nor failed to be everywhere since.
  package func isRotating(_ names: Set<String>) -> Bool {
    slots.contains {
      names.contains($0.identity.name)
        && ($0.isForced ? $0.failures[Slot.minting] == nil : !$0.unanswered.isEmpty)
    }
  }

  /// Records how `job` ended.
  package mutating func finish(
    _ job: Job.ID, _ failure: Failure?, at now: Instant, random: inout some RandomNumberGenerator
  ) {
    switch jobs.removeValue(forKey: job) {
    case .delivery(let slot, let position, let issue, let expiresAt):
      hanging.remove(slots[slot].identity.deliveries[position].path)
      slots[slot].running.remove(position)
      if issue >= slots[slot].forcedIssue { slots[slot].unanswered.remove(position) }
      if let failure {
        fail(slot, position, failure, at: now, &random)
      } else {
        slots[slot].held[position] = expiresAt
        succeed(slot, position, issue)
      }
      if slots[slot].issue != issue { startDeliveries(slot, position...position, at: now) }
      plan(slot, at: now)
    case .leftover(let delivery):
      leave(delivery.path, at: now)
      if !isWanted(delivery.path) { startRemoval(delivery) }
    case .removal(let delivery):
      leave(delivery.path, at: now)
      report(
        failure.map { .removalFailed(path: delivery.path, $0) } ?? .removed(path: delivery.path))
    case nil: break
    }
  }

  /// Records that `job` has not come back for longer than it should. Whoever it is for, or waits
  /// for its path, counts as failing until it does; nobody else waits for it.
  package mutating func noteHanging(_ job: Job.ID, at now: Instant) {
    switch jobs[job] {
    case .delivery(let slot, let position, _, _):
      let path = slots[slot].identity.deliveries[position].path
      hanging.insert(path)
      recordHanging(slot, path, at: now)
    case .leftover(let delivery), .removal(let delivery):
      hanging.insert(delivery.path)
      if let slot = waiting[delivery.path] { recordHanging(slot, delivery.path, at: now) }
    case nil: break
    }
  }

  // MARK: What may be known of the identities

  package var count: Int { slots.count }
  /// Identities that have a failure now.
  package internal(set) var failing = 0
  /// Identities that were neither delivered nor reported as failing since they were configured.
  package internal(set) var unsettled = 0
  /// Jobs that were ordered and have not come back.
  package var running: Int { jobs.count }

  /// How late rotations began.
  package private(set) var lateness = Lateness()

  /// The state of the identity called `name` at `now`; nil when there is none.
  package func state(of name: String, at now: Instant) -> State? {
    slots.first { $0.identity.name == name }?.state(at: now)
  }

  /// How those identities stand that changed since this was last asked.
  package mutating func takeChanged() -> [Standing] {
    defer { changed = [] }
    return changed.sorted().map { Standing(slots[$0]) }
  }
}

// MARK: - One identity's way

extension Rotator {
  private mutating func attend(
    _ slot: Int, at now: Instant, _ random: inout some RandomNumberGenerator
  ) {
    let needsToken = slots[slot].needsToken(at: now, keyID: signer.keyID)
    let canMint = slots[slot].failures[Slot.minting] == nil
    let isPausing = slots[slot].retryAt.map { $0 > now } ?? false
    // A pause ends early for a token that is due, unless it is minting that pauses.
    if isPausing, !(needsToken && canMint) { return plan(slot, at: now) }
    if !isPausing { slots[slot].retryAt = nil }
    if needsToken {
      do {
        try mint(slot, at: now)
        slots[slot].retryAt = nil
      } catch {
        fail(slot, nil, error, at: now, &random)
        if isPausing { return plan(slot, at: now) }
      }
    } else if clearFailure(slot, nil), slots[slot].undelivered.isEmpty {
      // The clock was set, and the token that could not be replaced is good again.
      completeRotation(slot)
    }
    startDeliveries(slot, 0...Limits.deliveries, at: now)
    plan(slot, at: now)
  }

  private mutating func mint(_ slot: Int, at now: Instant) throws(Failure) {
    let identity = slots[slot].identity
    if let due = slots[slot].token.map({ identity.due($0) }), due <= now {
      lateness.record(now - due)
    }
    let token = try minter.mint(
      identity.claims, lifetime: identity.lifetime, at: now, signer: signer)
    slots[slot].token = token
    slots[slot].issue += 1
    if slots[slot].isForced {
      slots[slot].isForced = false
      slots[slot].forcedIssue = slots[slot].issue
      for (position, delivery) in identity.deliveries.enumerated()
      where !hanging.contains(delivery.path) { slots[slot].unanswered.insert(position) }
    }
    slots[slot].counts.issued += 1
    slots[slot].undelivered = Positions(upTo: identity.deliveries.count)
    clearFailure(slot, nil)
    if identity.deliveries.isEmpty { completeRotation(slot) }
  }

  /// Starts those of `positions` that lack the newest token and have no job.
  mutating func startDeliveries(
    _ slot: Int, _ positions: ClosedRange<Int>, at now: Instant
  ) {
    // A token of a former key helps nobody; while none can be minted, what was delivered stays.
    guard let token = slots[slot].token, token.keyID == signer.keyID else { return }
    let identity = slots[slot].identity
    for (position, delivery) in identity.deliveries.enumerated()
    where positions.contains(position) && slots[slot].undelivered.contains(position)
      && !slots[slot].running.contains(position)
    {
      guard !busy.contains(delivery.path) else {
        waiting[delivery.path] = slot
        if hanging.contains(delivery.path) { recordHanging(slot, delivery.path, at: now) }
        continue
      }
      slots[slot].running.insert(position)
      start(
        .delivery(
          slot: slot, position: position, issue: slots[slot].issue, expiresAt: token.expiresAt),
        delivery, .write(delivery.content(token, of: identity)))
    }
  }

  /// `position` holds the token of `issue` now, which may not be the newest any more.
  private mutating func succeed(_ slot: Int, _ position: Int, _ issue: Int) {
    slots[slot].counts.delivered += 1
    if clearFailure(slot, position) {
      report(
        .deliveryRecovered(
          identity: slots[slot].identity.name,
          path: slots[slot].identity.deliveries[position].path))
    }
    guard slots[slot].issue == issue else { return }
    slots[slot].undelivered.remove(position)
    if slots[slot].undelivered.isEmpty {
      completeRotation(slot)
    } else if slots[slot].held.indices.allSatisfy({
      !slots[slot].undelivered.contains($0) || slots[slot].failures[$0] != nil
    }) {
      settle(slot)
    }
  }

  private mutating func completeRotation(_ slot: Int) {
    if slots[slot].failures.isEmpty {
      slots[slot].attempts = 0
      slots[slot].retryAt = nil
    }
    settle(slot)
    guard let token = slots[slot].token, slots[slot].announced != slots[slot].issue else { return }
    slots[slot].announced = slots[slot].issue
    report(.rotated(TokenSummary(token, of: slots[slot].identity)))
  }

  /// Ends every look at this identity, with what there is to say of it, and the moment of the
  /// next: when its token is due, at the next try, or when there is something to say again.
  mutating func plan(_ slot: Int, at now: Instant) {
    changed.insert(slot)
    reportAge(slot, at: now)
    // What minting failed at waits for the next try, if it is still needed.
    let waits = slots[slot].failures[Slot.minting] != nil && slots[slot].retryAt != nil
    let due = waits ? nil : slots[slot].nextToken(after: now, keyID: signer.keyID)
    let aging = slots[slot].failures.isEmpty ? nil : slots[slot].nextAging(after: now)
    let next = [due, slots[slot].retryAt, aging].compactMap(\.self).min()
    schedule.set(slot, due: next ?? now)
  }

  mutating func report(_ event: Event) { orders.append(.report(event)) }

  mutating func start(_ assignment: Assignment, _ delivery: Delivery, _ deed: Job.Deed) {
    lastJob += 1
    jobs[lastJob] = assignment
    orders.append(.run(Job(id: lastJob, delivery: delivery, deed: deed)))
  }
}

// MARK: - When something fails

extension Rotator {
  /// A failed try at `position`, or at minting when that is nil: what was delivered stays, and
  /// the identity tries again later.
  private mutating func fail(
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

  private mutating func recordHanging(_ slot: Int, _ path: Path, at now: Instant) {
    guard
      let position = slots[slot].identity.deliveries.firstIndex(where: { $0.path == path })
    else { return }
    slots[slot].unanswered.remove(position)
    record(
      slot, position,
      Failure("\(path): writing hangs: is its file system, or the disk under it, in trouble?"))
    plan(slot, at: now)
  }

  /// Keeps the failure, and reports it unless it is the one already known.
  private mutating func record(_ slot: Int, _ position: Int?, _ failure: Failure) {
    let key = position ?? Slot.minting
    settle(slot)
    guard slots[slot].failures[key] != failure else { return }
    if slots[slot].failures.isEmpty { failing += 1 }
    slots[slot].failures[key] = failure
    let identity = slots[slot].identity
    report(
      position.map {
        .deliveryFailed(identity: identity.name, path: identity.deliveries[$0].path, failure)
      } ?? .mintFailed(identity: identity.name, failure))
  }

  /// Forgets a failure; says whether there was one.
  @discardableResult
  private mutating func clearFailure(_ slot: Int, _ position: Int?) -> Bool {
    guard slots[slot].failures.removeValue(forKey: position ?? Slot.minting) != nil else {
      return false
    }
    if slots[slot].failures.isEmpty { failing -= 1 }
    return true
  }

  /// Reports, once each, that a failing identity's oldest token went stale or expired.
  private mutating func reportAge(_ slot: Int, at now: Instant) {
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

  /// After the clock was set: what was issued in the future is due now, and pauses that were
  /// counted on another clock end. What is due by the new clock comes up by itself.
  private mutating func reconsider(at now: Instant) {
    latest = now
    for (index, slot) in slots.enumerated()
    where slot.retryAt != nil || slot.token == nil || slot.token.map({ $0.issued > now }) == true {
      slots[index].retryAt = nil
      schedule.set(index, due: now)
    }
  }
}
