/// What all subjects share: the time, the keys, when which is looked at, the jobs under way, and
/// the turn that is being made.
///
/// Invariants:
/// - a path has at most one job, across configurations too: the job of a delivery, or one of an
///   earlier configuration, whose path is `busy`;
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
  }

  init(_ keys: Keys) { self.keys = keys }

  // MARK: Keys

  /// Reports that the key of this name is another one, once.
  mutating func tell(ofNew key: Key) {
    toldOfKeys.insert(key.name)
    report(.keyChanged(key: keys.shown(key.name), key.signing.keyID))
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

  /// What `job`, which came back, was for; nil when there is none.
  mutating func end(_ job: Job.ID) -> Purpose? {
    let purpose = jobs.removeValue(forKey: job)
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
