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
  private var signer: any Signer
  private var minter = Minter()
  private var schedule = Schedule()
  private var slots: [Slot] = []
  private var jobs: [Job.ID: Assignment] = [:]
  private var lastJob: Job.ID = 0
  /// Paths at which a job of an earlier configuration still runs, and the slots that wait for one.
  private var busy: Set<Path> = []
  private var waiting: Set<Int> = []
  private var latest = Instant(microseconds: .min)
  private var orders: [Order] = []

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
    for slot in slots.indices { schedule.set(slot, due: now) }
  }

  /// Records how `job` ended.
  package mutating func finish(
    _ job: Job.ID, _ failure: Failure?, at now: Instant, random: inout some RandomNumberGenerator
  ) {
    switch jobs.removeValue(forKey: job) {
    case .delivery(let slot, let position, let issue):
      slots[slot].running.remove(position)
      if let failure {
        fail(slot, position, failure, at: now, &random)
      } else {
        succeed(slot, position, issue)
      }
      if slots[slot].issue != issue { startDeliveries(slot) }
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

  /// Records that `job` has not come back for longer than it should. Its identity counts as
  /// failing until it does; nothing else waits for it.
  package mutating func noteHanging(_ job: Job.ID, at now: Instant) {
    guard case .delivery(let slot, let position, _) = jobs[job] else { return }
    let path = slots[slot].identity.deliveries[position].path
    record(
      slot, position,
      Failure("\(path): writing hangs: is its file system, or the disk under it, in trouble?"))
  }

  // MARK: What may be known of the identities

  package var count: Int { slots.count }
  /// Identities that have a failure now.
  package private(set) var failing = 0
  /// Identities that were neither delivered nor reported as failing since they were configured.
  package private(set) var unsettled = 0
  /// Jobs that were ordered and have not come back.
  package var running: Int { jobs.count }

  /// The state of the identity called `name` at `now`; nil when there is none.
  package func state(of name: String, at now: Instant) -> State? {
    slots.first { $0.identity.name == name }?.state(at: now)
  }
}

// MARK: - One identity's way

extension Rotator {
  private mutating func attend(
    _ slot: Int, at now: Instant, _ random: inout some RandomNumberGenerator
  ) {
    slots[slot].retryAt = nil
    if slots[slot].needsToken(at: now, keyID: signer.keyID) {
      do {
        try mint(slot, at: now)
      } catch {
        fail(slot, nil, error, at: now, &random)
      }
    }
    startDeliveries(slot)
    reportAge(slot, at: now)
    plan(slot, at: now)
  }

  private mutating func mint(_ slot: Int, at now: Instant) throws(Failure) {
    let identity = slots[slot].identity
    let token = try minter.mint(
      identity.claims, lifetime: identity.lifetime, at: now, signer: signer)
    slots[slot].token = token
    slots[slot].issue += 1
    slots[slot].undelivered = Positions(upTo: identity.deliveries.count)
    clearFailure(slot, nil)
    if identity.deliveries.isEmpty { completeRotation(slot) }
  }

  private mutating func startDeliveries(_ slot: Int) {
    guard let token = slots[slot].token else { return }
    let identity = slots[slot].identity
    for (position, delivery) in identity.deliveries.enumerated()
    where slots[slot].undelivered.contains(position) && !slots[slot].running.contains(position) {
      guard !busy.contains(delivery.path) else {
        waiting.insert(slot)
        continue
      }
      slots[slot].running.insert(position)
      start(
        .delivery(slot: slot, position: position, issue: slots[slot].issue), delivery,
        .write(delivery.content(token, of: identity)))
    }
  }

  /// `position` holds the token of `issue` now.
  private mutating func succeed(_ slot: Int, _ position: Int, _ issue: Int) {
    if clearFailure(slot, position) {
      report(
        .deliveryRecovered(
          identity: slots[slot].identity.name,
          path: slots[slot].identity.deliveries[position].path))
    }
    guard slots[slot].issue == issue, let token = slots[slot].token else { return }
    slots[slot].held[position] = token.expiresAt
    slots[slot].undelivered.remove(position)
    if slots[slot].undelivered.isEmpty { completeRotation(slot) }
  }

  private mutating func completeRotation(_ slot: Int) {
    if slots[slot].failures.isEmpty {
      slots[slot].attempts = 0
      slots[slot].retryAt = nil
      slots[slot].reported = .fresh
    }
    settle(slot)
    guard let token = slots[slot].token, slots[slot].announced != slots[slot].issue else { return }
    slots[slot].announced = slots[slot].issue
    report(.rotated(TokenSummary(token, of: slots[slot].identity)))
  }

  /// The next look at this identity: when its token is due, or at the next try before that.
  private mutating func plan(_ slot: Int, at now: Instant) {
    let canMint = slots[slot].failures[Slot.minting] == nil
    let due = canMint ? slots[slot].token.map { slots[slot].identity.due($0) } : nil
    let next = [due, slots[slot].retryAt].compactMap(\.self).min()
    schedule.set(slot, due: next ?? now)
  }

  private mutating func report(_ event: Event) { orders.append(.report(event)) }

  private mutating func start(_ assignment: Assignment, _ delivery: Delivery, _ deed: Job.Deed) {
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
    record(slot, position, failure)
    guard slots[slot].retryAt == nil else { return }
    let doubled = Limits.firstRetry * (1 << min(slots[slot].attempts, 16))
    let pause = min(doubled, Limits.longestRetry)
    let jitter = Double.random(
      in: 1 - Limits.retryJitter...1 + Limits.retryJitter, using: &random)
    slots[slot].attempts += 1
    slots[slot].retryAt = now + pause * jitter
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
    let state = slots[slot].state(at: now)
    guard state > slots[slot].reported else { return }
    slots[slot].reported = state
    let name = slots[slot].identity.name
    let expiry = Instant(seconds: oldest)
    report(
      state == .stale
        ? .stale(identity: name, expiresAt: expiry) : .expired(identity: name, expiresAt: expiry))
  }

  private mutating func settle(_ slot: Int) {
    guard !slots[slot].isSettled else { return }
    slots[slot].isSettled = true
    unsettled -= 1
  }

  /// After the clock was set: what was issued in the future is due now, and pauses that were
  /// counted on another clock end. What is due by the new clock comes up by itself.
  private mutating func reconsider(at now: Instant) {
    latest = now
    for (index, slot) in slots.enumerated()
    where slot.retryAt != nil || slot.token == nil || slot.token.map({ $0.issued > now }) == true {
      schedule.set(index, due: now)
    }
  }
}

// MARK: - When the configuration changes

extension Rotator {
  /// Makes `identities` the ones that are kept fresh. Those that are the same as before keep
  /// their tokens; what went, in whole or in part, leaves no file behind.
  @discardableResult
  package mutating func apply(_ identities: [Identity], at now: Instant) -> Changes {
    var changes = Changes()
    var earlier: [String: Int] = [:]
    for (index, slot) in slots.enumerated() { earlier[slot.identity.name] = index }
    let before = slots
    slots = []
    slots.reserveCapacity(identities.count)
    var movedTo: [Int: Int] = [:]
    for identity in identities {
      if let old = earlier[identity.name], before[old].identity == identity {
        movedTo[old] = slots.count
        slots.append(before[old])
        changes.kept += 1
      } else {
        if earlier[identity.name] == nil { changes.added += 1 } else { changes.changed += 1 }
        slots.append(Slot(identity))
      }
    }
    changes.removed = before.count - changes.kept - changes.changed
    reassignJobs(movedTo, before)
    removeUnwanted(before.indices.filter { movedTo[$0] == nil }.map { before[$0].identity })
    failing = slots.count { !$0.failures.isEmpty }
    unsettled = slots.count { !$0.isSettled }
    schedule = Schedule(count: slots.count)
    waiting = []
    for slot in slots.indices {
      // One that waits for a path looks again by itself; the others are looked at when due.
      if slots[slot].undelivered.isEmpty { plan(slot, at: now) } else { schedule.set(slot, due: now) }
      if slots[slot].token == nil { schedule.set(slot, due: now) }
    }
    return changes
  }

  /// Compares what the deliveries hold with what they should: takes over an earlier run's tokens
  /// that still match key, claims and files and are fresh, and delivers again what was lost.
  ///
  /// `read` returns a delivery's bytes, or nil when they or their owner, group or mode are not
  /// as configured.
  package mutating func takeStock(at now: Instant, read: (Delivery) -> [UInt8]?) {
    for slot in slots.indices where slots[slot].running.isEmpty {
      if let token = slots[slot].token {
        for (position, delivery) in slots[slot].identity.deliveries.enumerated()
        where read(delivery) != delivery.content(token, of: slots[slot].identity) {
          slots[slot].undelivered.insert(position)
          schedule.set(slot, due: now)
        }
      } else if let token = found(slots[slot].identity, at: now, read) {
        slots[slot].adopt(token)
        settle(slot)
        report(.kept(TokenSummary(token, of: slots[slot].identity)))
        plan(slot, at: now)
      }
    }
  }

  /// The fresh token that every delivery of `identity` holds, if it is the one that the current
  /// key and claims make: minting is deterministic, so it is compared with its like.
  private mutating func found(
    _ identity: Identity, at now: Instant, _ read: (Delivery) -> [UInt8]?
  ) -> Token? {
    guard let first = identity.deliveries.first, let content = read(first),
      let compact = first.token(in: content),
      case .number(let text)? = (try? CompactToken(parsing: compact))?.claims["iat"],
      let issuedAt = Int64(text), Instant(seconds: issuedAt) <= now,
      issuedAt > now.wholeSeconds - identity.lifetime.components.seconds,
      let token = try? minter.mint(
        identity.claims, lifetime: identity.lifetime, at: Instant(seconds: issuedAt),
        signer: signer),
      now < token.expiry - identity.refreshBefore,
      identity.deliveries.allSatisfy({
        !busy.contains($0.path) && read($0) == $0.content(token, of: identity)
      })
    else { return nil }
    return token
  }

  /// Points the running jobs to where their slots are now, and marks those without one.
  private mutating func reassignJobs(_ movedTo: [Int: Int], _ before: [Slot]) {
    for (id, assignment) in jobs {
      guard case .delivery(let slot, let position, let issue) = assignment else { continue }
      if let moved = movedTo[slot] {
        jobs[id] = .delivery(slot: moved, position: position, issue: issue)
      } else {
        let delivery = before[slot].identity.deliveries[position]
        jobs[id] = .leftover(delivery)
        busy.insert(delivery.path)
      }
    }
  }

  private mutating func removeUnwanted(_ gone: [Identity]) {
    guard !gone.isEmpty else { return }
    let wanted = Set(slots.lazy.flatMap { $0.identity.deliveries.lazy.map(\.path) })
    for delivery in gone.lazy.flatMap(\.deliveries)
    where !wanted.contains(delivery.path) && !busy.contains(delivery.path) {
      startRemoval(delivery)
    }
  }

  private func isWanted(_ path: Path) -> Bool {
    slots.contains { $0.identity.deliveries.contains { $0.path == path } }
  }

  private mutating func startRemoval(_ delivery: Delivery) {
    busy.insert(delivery.path)
    start(.removal(delivery), delivery, .remove)
  }

  /// No job of an earlier configuration runs at `path` any more: who waited looks again.
  private mutating func leave(_ path: Path, at now: Instant) {
    busy.remove(path)
    for slot in waiting { schedule.set(slot, due: now) }
    waiting = []
  }
}

// MARK: - What the host is asked to do

/// An order to the host.
package enum Order: Sendable {
  /// Carry out a job, and answer with `finish`.
  case run(Job)
  /// Tell whoever is interested.
  case report(Event)
}

/// One deed at one delivery.
package struct Job: Sendable {
  package typealias ID = UInt64
  package enum Deed: Sendable {
    /// Make these bytes what readers find.
    case write([UInt8])
    /// Leave nothing there.
    case remove
  }

  package let id: ID
  package let delivery: Delivery
  package let deed: Deed
}

/// What a running job is for.
private enum Assignment {
  case delivery(slot: Int, position: Int, issue: Int)
  /// A delivery for an identity that was removed or changed since.
  case leftover(Delivery)
  case removal(Delivery)
}
