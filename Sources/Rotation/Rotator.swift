/// The heart of jotd: due -> mint -> deliver -> record -> next.
///
/// A value. Time and randomness come in as arguments, and what is to be done outside goes out as
/// `orders`; the host carries them out and answers each job with `finish`. Invariants, once
/// `advance(to: now)` has returned:
/// - every identity has an entry in the schedule, later than `now`, or waits for a look at what
///   its places hold;
/// - nothing is written to a place before a look showed that it holds a token, or nothing;
/// - no token in use was issued after `now`, is due, or is signed with another key than the
///   current one, unless minting fails;
/// - a delivery has at most one job at a time, and a path never two, across reloads too;
/// - no identity waits for another, unless both want the same path.
package struct Rotator {
  var signer: any Signer
  /// Whether it was said that the key is another one than before.
  var hasToldOfKey = false
  var minter = Minter()
  var schedule = Schedule()
  var slots: [Slot] = []
  /// Where in `slots` the delivery to each path is.
  var places: [Path: (slot: Int, position: Int)] = [:]
  var jobs: [Job.ID: Assignment] = [:]
  private var lastJob: Job.ID = 0
  /// Paths at which a job of an earlier configuration still runs, and those of them that a delivery
  /// waits for.
  var busy: Set<Path> = []
  var waiting: Set<Path> = []
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
    hasToldOfKey = true
    report(.keyChanged(signer.keyID))
    for slot in slots.indices {
      slots[slot].retryAt = nil
      schedule.set(slot, due: now)
    }
  }

  /// Replaces the tokens of these identities at once, due or not; names of no identity are passed
  /// over. With `onlyToGain`, a token that was made in the present second stays, and is only
  /// delivered where it is not yet: a new one would not live longer, because `iat` and `exp` are
  /// whole seconds.
  package mutating func rotate(_ names: Set<String>, onlyToGain: Bool = false, at now: Instant) {
    for slot in slots.indices where names.contains(slots[slot].identity.name) {
      if onlyToGain, slots[slot].isNewest(at: now, keyID: signer.keyID) {
        slots[slot].awaitDeliveries(hanging: hanging)
      } else {
        slots[slot].isForced = true
      }
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
    _ job: Job.ID, _ outcome: Outcome, at now: Instant, random: inout some RandomNumberGenerator
  ) {
    let failure: Failure? = if case .failed(let failure) = outcome { failure } else { nil }
    switch jobs.removeValue(forKey: job) {
    case .look(let slot, let position):
      hanging.remove(slots[slot].identity.deliveries[position].path)
      slots[slot].running.remove(position)
      let found: Found =
        switch outcome {
        case .found(let found): found
        case .failed(let failure): .unreadable(failure)
        case .done: .nothing
        }
      learn(slot, position, found, at: now, random: &random)
      plan(slot, at: now)
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
      if slots[slot].issue != issue || slots[slot].suspect.contains(position) {
        startJobs(slot, position...position, at: now)
      }
      plan(slot, at: now)
    case .leftover(let delivery, let identity, let isOurs):
      leave(delivery.path, at: now)
      var isOurs = isOurs
      if case .found(let found) = outcome { isOurs = delivery.reasonToSpare(found) == nil }
      if isOurs, places[delivery.path] == nil { startRemoval(delivery, of: identity) }
    case .removal(let delivery):
      leave(delivery.path, at: now)
      switch outcome {
      case .done: report(.removed(path: delivery.path, isEmptied: delivery.isInPlace))
      case .failed(let failure): report(.removalFailed(path: delivery.path, failure))
      case .found: break
      }
    case nil: break
    }
  }

  /// Records that `job` has not come back for longer than it should. Whoever it is for, or waits
  /// for its path, counts as failing until it does; nobody else waits for it.
  package mutating func noteHanging(_ job: Job.ID, at now: Instant) {
    switch jobs[job] {
    case .look(let slot, let position), .delivery(let slot, let position, _, _):
      let path = slots[slot].identity.deliveries[position].path
      hanging.insert(path)
      recordHanging(path, at: now)
    case .leftover(let delivery, _, _), .removal(let delivery):
      hanging.insert(delivery.path)
      if waiting.contains(delivery.path) { recordHanging(delivery.path, at: now) }
    case nil: break
    }
  }

  // MARK: What may be known of the identities

  package var count: Int { slots.count }
  /// Identities that have a failure now.
  package internal(set) var failing = 0
  /// Their names, at most `count` of them.
  package func failingNames(upTo count: Int) -> [String] {
    slots.lazy.filter { !$0.failures.isEmpty }.prefix(count).map(\.identity.name)
  }
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
    adoptCandidate(slot, at: now)
    let needsToken = slots[slot].needsToken(at: now, keyID: signer.keyID)
    let canMint = slots[slot].failures[Slot.minting] == nil
    let isPausing = slots[slot].isPausing(at: now)
    // A pause ends early for a token that is due, unless it is minting that pauses.
    if isPausing, !(needsToken && canMint) { return plan(slot, at: now) }
    if !isPausing { slots[slot].retryAt = nil }
    if slots[slot].awaitsLooks {
      // A token that is there may be good.
    } else if needsToken {
      do {
        try mint(slot, at: now)
        slots[slot].retryAt = nil
      } catch {
        fail(slot, nil, error, at: now, &random)
        if isPausing { return plan(slot, at: now) }
      }
    } else if clearFailure(slot, nil), slots[slot].isDelivered {
      // The clock was set, and the token that could not be replaced is good again.
      completeRotation(slot)
    }
    startJobs(slot, 0...Limits.deliveries, at: now)
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
    slots[slot].counts.issued += 1
    slots[slot].undelivered = Positions(upTo: identity.deliveries.count)
    if slots[slot].isForced {
      slots[slot].isForced = false
      slots[slot].awaitDeliveries(hanging: hanging)
    }
    clearFailure(slot, nil)
    if identity.deliveries.isEmpty { completeRotation(slot) }
  }

  /// Starts what there is to do at those of `positions` that have no job: a look where none was
  /// taken, and a write where the newest token is missing.
  mutating func startJobs(_ slot: Int, _ positions: ClosedRange<Int>, at now: Instant) {
    // A token of a former key helps nobody; while none can be minted, what was delivered stays.
    let token = slots[slot].token.flatMap { $0.keyID == signer.keyID ? $0 : nil }
    let identity = slots[slot].identity
    for (position, delivery) in identity.deliveries.enumerated()
    where positions.contains(position) && !slots[slot].running.contains(position) {
      let isWanted = token != nil && slots[slot].undelivered.contains(position)
      let needsLook =
        slots[slot].unread.contains(position) || slots[slot].suspect.contains(position)
      guard needsLook || isWanted else { continue }
      guard !busy.contains(delivery.path) else {
        waiting.insert(delivery.path)
        if hanging.contains(delivery.path) { recordHanging(delivery.path, at: now) }
        continue
      }
      slots[slot].running.insert(position)
      // What happens while somebody looks is looked at after that.
      slots[slot].suspect.remove(position)
      if let token, !needsLook, slots[slot].claimed.contains(position) {
        start(
          .delivery(
            slot: slot, position: position, issue: slots[slot].issue, expiresAt: token.expiresAt),
          delivery, of: identity.name, .write(delivery.content(token, of: identity)))
      } else {
        start(.look(slot: slot, position: position), delivery, of: identity.name, .look)
      }
    }
  }

  /// `position` holds the token of `issue` now, which may not be the newest any more.
  private mutating func succeed(_ slot: Int, _ position: Int, _ issue: Int) {
    slots[slot].counts.delivered += 1
    recover(slot, position)
    guard slots[slot].issue == issue else { return }
    slots[slot].undelivered.remove(position)
    if slots[slot].isDelivered {
      completeRotation(slot)
    }
  }

  mutating func completeRotation(_ slot: Int) {
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
    settleIfAccountedFor(slot)
    reportAge(slot, at: now)
    // What minting failed at waits for the next try, if it is still needed.
    let waits = slots[slot].failures[Slot.minting] != nil && slots[slot].retryAt != nil
    let due =
      waits || slots[slot].awaitsLooks
      ? nil : slots[slot].nextToken(after: now, keyID: signer.keyID)
    let aging = slots[slot].failures.isEmpty ? nil : slots[slot].nextAging(after: now)
    let next = [due, slots[slot].retryAt, aging].compactMap(\.self).min()
    // Nil only while it waits for looks: they come back, or are noted as hanging.
    if let next { schedule.set(slot, due: next) }
  }

  mutating func report(_ event: Event) { orders.append(.report(event)) }

  mutating func start(
    _ assignment: Assignment, _ delivery: Delivery, of identity: String, _ deed: Job.Deed
  ) {
    lastJob += 1
    jobs[lastJob] = assignment
    orders.append(
      .run(Job(id: lastJob, identity: identity, delivery: delivery, deed: deed)))
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
