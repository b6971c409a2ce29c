import DequeModule

/// What all subjects share: the time, the keys, when which is looked at, the jobs under way, and
/// the turn that is being made.
///
/// Invariants:
/// - a path has at most one job, across configurations too: the job of a delivery, or one of an
///   earlier configuration, whose path is `busy`;
/// - a key that signs elsewhere has at most one signature under way, `signing`, and others wait
///   only while it has;
/// - a request is in `pending` with the number of identities that have yet to answer it.
struct Agenda {
  var keys: Keys
  var now = Instant(microseconds: .min)
  var minter = Minter()
  var schedule = Schedule()
  /// Signatures of the turn that is being made which took long.
  var slowSignatures = 0
  /// Whether `keys` are to be told of.
  var hasNewKeys = false
  /// The keys whose change needs no further report, by their names: it was reported, or the
  /// configuration is not the first.
  var toldOfKeys: Set<String> = []
  /// When the last token of an origin ends, as far as no identity has it any more.
  private(set) var lastExpiries: [Token.Origin: Instant] = [:]

  private(set) var jobs: [Job.ID: Purpose] = [:]
  private var lastJob: Job.ID = 0
  /// Paths at which a job of an earlier configuration still runs, and those of them that a delivery
  /// waits for.
  var busy: Set<Path> = []
  var waiting: Set<Path> = []
  /// Paths at which a job was noted as stalled and has not come back.
  var stalled: Set<Path> = []

  /// The names of the keys that sign elsewhere, each with its job; and the numbers of those who
  /// wait for it, the first to come first.
  private var signing: [String: (job: Job.ID, isStalled: Bool)] = [:]
  private var lines: [String: Deque<Int>] = [:]

  private var pending: [RotationRequest.ID: Int] = [:]
  private var actions: [Action] = []
  private var answered: [RotationRequest.ID] = []
  /// The numbers of the subjects whose status may have changed, some of them twice.
  var changed: [Int] = []
  var changes: Changes?
  /// Set with `changes`: see `Turn.numbers`.
  var numbers: [String: Int]?
  var totals = Totals()
  /// How many of the subjects are publications: the last ones.
  var publications = 0

  /// What a running job is for.
  enum Purpose {
    case look(number: Int, position: Int)
    /// `expiresAt` is that of the token of that issue.
    case delivery(number: Int, position: Int, issue: Int, expiresAt: Instant)
    /// A job for a subject that was removed or changed since; `isOurs` says whether what is at
    /// the place may be removed.
    case leftover(Delivery, subject: Subject.Name, isOurs: Bool)
    case removal(Delivery)
    /// The signature of a token of this identity.
    case signature(Draft, number: Int, key: String)
  }

  init(_ keys: Keys) { self.keys = keys }

  // MARK: Keys

  /// Reports that the key of this name is another one, once.
  mutating func tell(ofNew key: Key) {
    guard let signing = key.signing else { return }
    toldOfKeys.insert(key.name)
    report(.keyChanged(key: keys.shown(key.name), signing.keyID))
  }

  /// A token of this origin that ends then may still be about.
  mutating func noteExpiry(_ expiry: Instant, of origin: Token.Origin) {
    guard case .key = origin else { return }
    lastExpiries[origin] = max(lastExpiries[origin] ?? expiry, expiry)
    guard lastExpiries.count > Limits.endsRemembered else { return }
    lastExpiries = lastExpiries.filter { $0.value > now }
    guard lastExpiries.count > Limits.endsRemembered else { return }
    let earliest = lastExpiries.min { $0.value < $1.value }
    if let earliest { lastExpiries[earliest.key] = nil }
  }

  // MARK: Actions

  mutating func report(_ event: Event) { actions.append(.report(event)) }

  mutating func start(
    _ purpose: Purpose, _ delivery: Delivery, of subject: Subject.Name,
    _ operation: Job.Operation
  ) {
    lastJob += 1
    jobs[lastJob] = purpose
    actions.append(
      .run(Job(id: lastJob, subject: subject, delivery: delivery, operation: operation)))
  }

  // MARK: Signatures that are waited for

  func isSigning(_ key: String) -> Bool { signing[key] != nil }

  /// Has `draft`, a token of this identity, signed by its key, which has nothing else to sign.
  mutating func sign(_ draft: Draft, number: Int, key: String) {
    lastJob += 1
    jobs[lastJob] = .signature(draft, number: number, key: key)
    signing[key] = (lastJob, false)
    actions.append(.sign(SigningJob(id: lastJob, key: key, draft)))
  }

  /// The subject of this number is next once those have signed that came before.
  mutating func queue(_ number: Int, for key: String) { lines[key, default: []].append(number) }

  /// Who is next to have this key sign; nil while it does, and when nobody waits.
  mutating func takeNext(for key: String) -> Int? {
    if isSigning(key) { return nil }
    let next = lines[key]?.popFirst()
    if lines[key]?.isEmpty == true { lines[key] = nil }
    return next
  }

  /// What this key signs now takes longer than it should. Gives those who wait for that.
  mutating func noteStalled(_ key: String) -> Deque<Int> {
    signing[key]?.isStalled = true
    return lines[key] ?? []
  }

  func isStalled(_ key: String) -> Bool { signing[key]?.isStalled == true }

  /// What this key signs now is of no use any more. Gives those who waited for it.
  mutating func abandonSignature(of key: String) -> [Int] {
    let waiting = Array(lines.removeValue(forKey: key) ?? [])
    return dropSignature(of: key).map { [$0] + waiting } ?? waiting
  }

  /// Nobody wants what this key signs now, if it does. Gives the number of who did.
  @discardableResult
  mutating func dropSignature(of key: String) -> Int? {
    guard let (job, _) = signing.removeValue(forKey: key),
      case .signature(_, let number, _)? = jobs.removeValue(forKey: job)
    else { return nil }
    return number
  }

  /// Nobody waits any more: they come again.
  mutating func clearLines() { lines = [:] }

  /// What `job`, which came back, was for; nil when there is none.
  mutating func end(_ job: Job.ID) -> Purpose? {
    let purpose = jobs.removeValue(forKey: job)
    if case .signature(_, _, let key)? = purpose { signing[key] = nil }
    // A dictionary keeps the room of its largest crowd.
    if jobs.isEmpty { jobs = [:] }
    return purpose
  }

  /// The job goes on for something else.
  mutating func repurpose(_ job: Job.ID, _ purpose: Purpose) { jobs[job] = purpose }

  // MARK: Requests

  /// `count` identities have yet to answer `request`.
  mutating func open(_ request: RotationRequest.ID, count: Int) {
    if count == 0 { answered.append(request) } else { pending[request] = count }
  }

  /// An identity has what was asked for, or cannot get it, or is gone.
  mutating func answer(_ requests: [RotationRequest.ID]) {
    for request in requests {
      guard let count = pending[request] else { continue }
      pending[request] = count > 1 ? count - 1 : nil
      if count == 1 { answered.append(request) }
    }
  }

  // MARK: The turn

  /// All that came of this step, with the statuses of `states`; the next begins with nothing.
  mutating func takeTurn(_ states: [RotationState]) -> Turn {
    var turn = Turn()
    swap(&turn.actions, &actions)
    swap(&turn.answered, &answered)
    swap(&turn.changes, &changes)
    if numbers == nil {
      var last = -1
      for number in changed.sorted() where number != last {
        if let status = IdentityStatus(states[number]) { turn.changed.append(status) }
        last = number
      }
    } else {
      turn.changed = states.compactMap(IdentityStatus.init)
    }
    if hasNewKeys || changed.contains(where: { states[$0].subject.identity == nil }) {
      turn.publications = states.suffix(publications).compactMap { PublicationStatus($0, self) }
    }
    changed = []
    slowSignatures = 0
    swap(&turn.numbers, &numbers)
    if hasNewKeys { turn.keys = keys }
    hasNewKeys = false
    turn.nextWake = schedule.next
    totals.identities = states.count - publications
    totals.failingPublications = states.suffix(publications).count { !$0.failures.isEmpty }
    totals.jobs = jobs.count
    turn.totals = totals
    return turn
  }
}
