/// The rotation of one subject: its token, what its deliveries hold, what is under way there, and
/// what fails.
///
/// Deliveries are told apart by their positions in the subject's list. Invariants between steps:
/// - each position in `running` has one job in the agenda;
/// - no position outside of `claimed` is written, or removed;
/// - every delivery that is not known to hold `token` is in `undelivered`, or was never looked at
///   (`unread`);
/// - `retryAt`, when it is set, is the next try at what fails; it is nil while that try runs, and
///   for what only hangs.
struct RotationState {
  var subject: Subject
  /// Its index in the rotator's list.
  var number: Int
  /// The newest token; nil before the first.
  private(set) var token: Token?
  /// Counts the tokens, so that a late job can tell whether its token is still the newest.
  private(set) var issue = 0
  /// The issue last reported as delivered everywhere.
  private(set) var announced = 0
  /// Deliveries that are not known to hold `token`.
  var undelivered = Positions()
  /// Those with a job at work.
  var running = Positions()
  /// Deliveries that were not looked at since they were configured. While there are any, no first
  /// token is chosen.
  var unread: Positions
  /// Deliveries whose place is to be looked at because somebody may have changed it.
  var suspect = Positions()
  /// Deliveries whose place this run may write: sockets, places that it could write before a
  /// reload, and those where a look found a token, or nothing.
  var claimed = Positions()
  /// When the token ends that each delivery holds; nil for none.
  var held: [Instant?]
  /// What there is beside in trouble: see `Unsettled`.
  var unsettled = Unsettled.Place()
  var counts = IdentityStatus.Counts()
  /// Whether it was delivered, or a failure reported, since it was configured.
  var isSettled = false

  /// The key of `failures` that no position has.
  static let minting = -1

  /// The paths in `ours` were written by this run already, for another subject or in another way.
  init(_ subject: Subject, number: Int, ours: Set<Path> = []) {
    self.subject = subject
    self.number = number
    held = Array(repeating: nil, count: subject.deliveries.count)
    unread = subject.lastingPositions
    for (position, delivery) in subject.deliveries.enumerated()
    where !delivery.isLasting || ours.contains(delivery.path) { claimed.insert(position) }
  }
}

// MARK: - What it is asked

extension RotationState {
  func path(_ position: Int) -> Path { subject.deliveries[position].path }

  /// The paths that this run may have written.
  var ours: [Path] { subject.deliveries.indices.filter(claimed.contains).map(path) }

  /// Whether what its places hold is still to be known before the first token is chosen.
  var awaitsLooks: Bool { token == nil && !unread.isEmpty }

  /// Whether every delivery is known to hold `token`.
  var isDelivered: Bool { undelivered.isEmpty && unread.isEmpty }

  func needsToken(_ agenda: Agenda) -> Bool {
    guard let token, !isForced else { return true }
    return isDue(token, at: agenda.now) || token.issuedAt > agenda.now
      || !isCurrent(token, agenda)
  }

  private func isDue(_ token: Token, at now: Instant) -> Bool {
    subject.due(token).map { $0 <= now } ?? false
  }

  /// Whether `token` is of the present keys.
  func isCurrent(_ token: Token, _ agenda: Agenda) -> Bool {
    subject.isCurrent(token, agenda.keys, at: agenda.now)
  }

  /// Whether it has a token that is not of the present keys.
  func isOfAnotherKey(_ agenda: Agenda) -> Bool { token.map { !isCurrent($0, agenda) } ?? false }

  /// Whether no token could be made with the key of this name.
  func isUnsigned(by key: String) -> Bool {
    subject.key == key && failures[RotationState.minting] != nil
  }

  /// Whether its next try is still to come.
  func isPausing(at now: Instant) -> Bool { retryAt.map { $0 > now } ?? false }

  /// Whether what is to be done next was decided by a clock that was set since.
  func dependsOnClock(at now: Instant) -> Bool {
    retryAt != nil || token == nil || token.map { $0.issuedAt > now } == true
      || subject.identity == nil
  }

  /// The earliest end of a token among the deliveries that hold one; without deliveries, the
  /// token's own.
  var oldestHeld: Instant? {
    subject.deliveries.isEmpty ? token?.expiresAt : held.compactMap(\.self).min()
  }

  /// The worst that was already reported of a token that ends at `expiry`.
  func reportedFreshness(ofTokenExpiring expiry: Instant) -> Freshness {
    guard let reported, reported.expiry == expiry else { return .fresh }
    return reported.freshness
  }

  /// When the oldest token next becomes stale or expired and that is still to be reported.
  private func nextAging(after now: Instant) -> Instant? {
    guard let oldestHeld else { return nil }
    guard let staleness = subject.staleness(ofTokenExpiring: oldestHeld) else { return nil }
    let moments = [(Freshness.stale, staleness), (Freshness.expired, oldestHeld)]
    let known = reportedFreshness(ofTokenExpiring: oldestHeld)
    return moments.first { $0.1 > now && $0.0 > known }?.1
  }
}

// MARK: - What happens to it

extension RotationState {
  /// Has it seen to in this step, whatever it waits for.
  mutating func attendSoon(_ agenda: inout Agenda) {
    retryAt = nil
    agenda.schedule.set(number, due: agenda.now)
  }

  /// Sees to what is due: a token, a try, a delivery.
  mutating func attend(_ agenda: inout Agenda, _ random: inout some RandomNumberGenerator) {
    adoptCandidate(&agenda)
    let needsToken = needsToken(agenda)
    let canMint = failures[RotationState.minting] == nil
    let isPausing = isPausing(at: agenda.now)
    // A pause ends early for a token that is due, unless it is minting that pauses.
    if isPausing, !(needsToken && canMint) { return plan(&agenda) }
    if !isPausing { retryAt = nil }
    if awaitsLooks {
      // A token that is there may be good.
    } else if needsToken {
      do {
        if try mint(&agenda, &random) { retryAt = nil } else if isPausing { return plan(&agenda) }
      } catch {
        fail(RotationState.minting, error, &agenda, &random)
        if isPausing { return plan(&agenda) }
      }
    } else if clearFailure(RotationState.minting, &agenda), isDelivered {
      // The clock was set, and the token that could not be replaced is good again.
      completeRotation(&agenda)
    }
    startJobs(0...Limits.deliveries, &agenda)
    plan(&agenda)
  }

  /// Somebody asked for a new token.
  mutating func request(_ request: RotationRequest, _ agenda: inout Agenda) {
    requests.append(request.id)
    if request.onlyToGain, !isForced, let token, isCurrent(token, agenda),
      token.issuedAt == Instant(seconds: agenda.now.wholeSeconds)
    {
      awaitDeliveries(agenda)
    } else {
      isForced = true
      if signing == .underWay { signing = .outrun }
    }
    attendSoon(&agenda)
  }

  /// Makes a new token, and says whether it is there: one that is signed elsewhere comes later.
  private mutating func mint(
    _ agenda: inout Agenda, _ random: inout some RandomNumberGenerator
  ) throws(Failure) -> Bool {
    switch subject {
    case .publication(let publication):
      receive(try agenda.keys.set(of: publication, at: agenda.now), &agenda)
    case .identity(let identity):
      guard signing == .nothing else { return false }
      let signer = try agenda.keys.signer(of: identity.key)
      if signer.isRemote, agenda.isSigning(identity.key) {
        signing = .waiting
        agenda.queue(number, for: identity.key)
        if agenda.isStalled(identity.key) { recordUnsigned(&agenda) }
        return false
      }
      recordLateness(&agenda)
      if signer.isRemote {
        signing = .underWay
        let draft = agenda.minter.draft(
          identity.template, lifetime: identity.lifetime, at: agenda.now, signer: signer,
          random: &random)
        agenda.sign(draft, number: number, key: identity.key)
        return false
      }
      if signer.algorithm.isSlow { agenda.slowSignatures += 1 }
      receive(
        try agenda.minter.mint(
          identity.template, lifetime: identity.lifetime, at: agenda.now, signer: signer,
          random: &random), &agenda)
    }
    return true
  }

  private func recordLateness(_ agenda: inout Agenda) {
    if let due = token.flatMap({ subject.due($0) }), due <= agenda.now {
      agenda.totals.lateness.record(agenda.now - due)
    }
  }

  /// What was to be signed elsewhere is signed, or cannot be.
  mutating func endSigning(
    _ draft: Draft, _ outcome: Outcome, _ agenda: inout Agenda,
    _ random: inout some RandomNumberGenerator
  ) {
    let isOutrun = signing == .outrun
    signing = .nothing
    let wasPausing = isPausing(at: agenda.now)
    var failure: Failure?
    switch outcome {
    case .signed(let signature):
      let token = draft.signed(signature)
      if token.expiresAt <= agenda.now {
        failure = Failure("it took so long to sign a token that it ended meanwhile")
      } else if token.issuedAt <= agenda.now, needsToken(agenda) {
        receive(token, isOutrun: isOutrun, &agenda)
        retryAt = nil
      }
    case .failed(let reason): failure = reason
    case .done, .found: break
    }
    guard let failure else { return agenda.schedule.set(number, due: agenda.now) }
    fail(RotationState.minting, failure, &agenda, &random)
    if !wasPausing { startJobs(0...Limits.deliveries, &agenda) }
    plan(&agenda)
  }

  /// Takes a new token over; `isOutrun`: whoever asked for one waits for the next.
  private mutating func receive(
    _ new: Token, isOutrun: Bool = false, _ agenda: inout Agenda
  ) {
    // The clock was set back.
    if let old = token, old.expiresAt > new.expiresAt {
      agenda.noteExpiry(old.expiresAt, of: old.origin)
    }
    accept(new)
    counts.issued += 1
    if isForced, !isOutrun {
      isForced = false
      awaitDeliveries(agenda)
    }
    clearFailure(RotationState.minting, &agenda)
    if subject.deliveries.isEmpty { completeRotation(&agenda) }
  }

  /// The one way in for a token: it is the newest from now on, and every delivery that does not
  /// hold it is to get it.
  private mutating func accept(_ token: Token, heldBy holders: Positions = Positions()) {
    self.token = token
    issue += 1
    undelivered = Positions(upTo: subject.deliveries.count)
    undelivered.subtract(holders)
    for position in held.indices where holders.contains(position) {
      held[position] = token.expiresAt
    }
  }

  /// Takes over a token of an earlier run, which these deliveries hold already.
  mutating func adopt(_ token: Token, heldBy holders: Positions, _ agenda: inout Agenda) {
    held = Array(repeating: nil, count: held.count)
    accept(token, heldBy: holders)
    announced = issue
    if let identity = subject.identity {
      agenda.report(.kept(TokenSummary(token, of: identity)))
    }
    if undelivered.isEmpty { settle(&agenda) }
  }

  /// The requests are answered once each delivery that lacks the token at this moment has got it or
  /// has failed; paths that hang are not waited for.
  private mutating func awaitDeliveries(_ agenda: Agenda) {
    forcedIssue = issue
    unanswered = Positions()
    for position in subject.deliveries.indices
    where undelivered.contains(position) && !agenda.stalled.contains(path(position)) {
      unanswered.insert(position)
    }
  }

  /// `position` has got the token of `issue`, or failed to.
  mutating func answer(_ position: Int, _ issue: Int) {
    if issue >= forcedIssue { unanswered.remove(position) }
  }

  mutating func completeRotation(_ agenda: inout Agenda) {
    if failures.isEmpty {
      if !backoff.isFresh { backoff = Backoff() }
      retryAt = nil
    }
    settle(&agenda)
    guard let token, announced != issue else { return }
    announced = issue
    switch subject {
    case .identity(let identity): agenda.report(.rotated(TokenSummary(token, of: identity)))
    case .publication(let publication): agenda.report(.published(key: publication.key))
    }
  }

  /// Closes every visit to this subject: notes that its status may have changed, says what there
  /// is to say, and schedules the next visit: when the token is due, at the next try, or at the
  /// next report of its age.
  mutating func plan(_ agenda: inout Agenda) {
    agenda.changed.append(number)
    settleIfAccountedFor(&agenda)
    reportAge(&agenda)
    // What minting failed at waits for the next try, if it is still needed.
    let isMintingBroken = failures[RotationState.minting] != nil
    let isWaiting = isMintingBroken && retryAt != nil || awaitsLooks || signing != .nothing
    let due = isWaiting ? nil : token == nil ? agenda.now : token.flatMap { subject.due($0) }
    let aging = failures.isEmpty ? nil : nextAging(after: agenda.now)
    // Before the first token, and where a job is still at work, there is nothing to try.
    let isTriable = failures.keys.contains {
      $0 == RotationState.minting || !awaitsLooks && !running.contains($0)
    }
    let next = [due, isTriable ? retryAt : nil, aging].compactMap(\.self).min()
    // Nil only while it waits for looks or a signature, which come back; and for a set that does
    // not end.
    if let next { agenda.schedule.set(number, due: next) }
    // Whoever asked for a token that cannot be minted, or must not be delivered any more, is told
    // so, and it comes later.
    let isOutdated = isForced || isOfAnotherKey(agenda)
    if isMintingBroken && isOutdated || !isForced && unanswered.isEmpty {
      answerRequests(&agenda)
    }
  }

  /// Nothing more comes of what was asked for.
  mutating func answerRequests(_ agenda: inout Agenda) {
    agenda.answer(requests)
    requests = []
  }
}
