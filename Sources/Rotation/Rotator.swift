/// The heart of jotd: due -> issue -> deliver -> record -> next.
///
/// A value. Everything that happens is an `Input`, and all that comes of it is in the `Turn`; time
/// and randomness come in as arguments. Invariants between steps:
/// - every subject has an entry in the schedule, later than the last step, or waits for a look at
///   what its places hold, or comes next: there is a bound on slow signatures;
/// - no file is first written before a look showed that it holds a token, or nothing;
/// - no token in use was issued in the future, is due, or is signed with another key than the
///   current one, unless minting fails, or the next is being signed;
/// - who waits for a signature that is made elsewhere has one under way, or waits behind one;
/// - a delivery has at most one job at a time, and a path never two, across reloads too;
/// - no subject waits for another, unless both want the same path.
package struct Rotator {
  /// One for each subject, in the order of the configuration, identities before publications: a
  /// subject's index here is its number.
  var states: [RotationState] = []
  /// The number of each identity, by its name.
  var numbers: [String: Int] = [:]
  /// The delivery to each path.
  var places: [Path: (number: Int, position: Int)] = [:]
  var agenda: Agenda
  private var isConfigured = false
  /// Whether the last step left some that were due.
  private var isUnfinished = false
  private var latest = Instant(microseconds: .min)

  /// A rotator without identities: the input `configured` brings them.
  package init(keys: Keys) { agenda = Agenda(keys) }

  /// What comes of `input` at `now`, and of the time that went by: every identity that is due is
  /// seen to, unless the turn is unfinished, and then the next step goes on with them.
  package mutating func step(
    _ input: Input, at now: Instant, random: inout some RandomNumberGenerator
  ) -> Turn {
    agenda.now = now
    take(input, &random)
    if now < latest { reconsider() }
    latest = now
    while agenda.slowSignatures < Limits.slowSignaturesAtOnce,
      let number = agenda.schedule.popDue(at: now)
    {
      states[number].attend(&agenda, &random)
    }
    isUnfinished = agenda.schedule.isDue(at: now)
    var turn = agenda.takeTurn(states)
    turn.isUnfinished = isUnfinished
    return turn
  }

  private mutating func take(_ input: Input, _ random: inout some RandomNumberGenerator) {
    switch input {
    case .woke: break
    case .clockSet(let step):
      agenda.report(.clockSet(step))
      reconsider()
    case .signerRead(let key, let signer):
      use(agenda.keys.replacing(key, with: signer))
      for number in states.indices where states[number].isUnsigned(by: key) {
        states[number].attendSoon(&agenda)
      }
    case .keyRead(let key): use(agenda.keys.replacing(key))
    case .configured(let identities, let keys):
      use(keys)
      configure(identities)
      // What an earlier run's files are signed with is news at a start alone.
      if isConfigured { agenda.toldOfKeys.formUnion(keys.all.map(\.name)) }
      isConfigured = true
    case .requested(let request): rotate(request)
    case .ended(let jobs): for (job, outcome) in jobs { finish(job, outcome, &random) }
    case .stalled(let jobs): for job in jobs { stall(job) }
    case .touched(let paths):
      for (number, position) in paths.compactMap({ places[$0] }) {
        states[number].touch(position, &agenda)
      }
    }
  }

  /// After the clock was set: what was issued in the future is due now, and pauses that were
  /// counted on another clock end. What is due by the new clock comes up by itself.
  private mutating func reconsider() {
    latest = agenda.now
    for number in states.indices
    where isUnfinished || states[number].dependsOnClock(at: agenda.now) {
      states[number].attendSoon(&agenda)
    }
  }

  private mutating func use(_ new: Keys) {
    var keys = new
    let former = agenda.keys
    let changed = keys.succeed(former) { lastExpiry(of: .key($0)) }
    agenda.keys = keys
    agenda.hasNewKeys = true
    for number in states.indices.suffix(agenda.publications) { states[number].attendSoon(&agenda) }
    for key in changed {
      // It may come to sign again, and be replaced again.
      if let last = key.replaced.first {
        agenda.noteExpiry(last.until, of: .key(last.signer.keyID))
      }
      for number in agenda.abandonSignature(of: key.name) { states[number].signing = .nothing }
      let concerned = states.indices.filter { states[$0].subject.key == key.name }
      let replaces = former[key.name]?.signing != nil
      if replaces || concerned.contains(where: { states[$0].isOfAnotherKey(agenda) }) {
        agenda.tell(ofNew: key)
      }
      for number in concerned {
        if !replaces { states[number].lookAnew(&agenda) }
        states[number].attendSoon(&agenda)
      }
    }
  }

  /// When the last token of this origin ends; nil if there was none.
  private func lastExpiry(of origin: Token.Origin) -> Instant? {
    let held = states.lazy.compactMap(\.token).filter { $0.origin == origin }.map(\.expiresAt).max()
    return [held, agenda.lastExpiries[origin]].compactMap(\.self).max()
  }

  /// The number of what has this name; nil when nothing has. There are few publications.
  func number(of name: Subject.Name) -> Int? {
    switch name {
    case .identity(let name): numbers[name]
    case .publication:
      states.indices.suffix(agenda.publications).first {
        states[$0].subject.name == name
      }
    }
  }

  private mutating func rotate(_ request: RotationRequest) {
    let asked = request.names.compactMap { numbers[$0] }.sorted()
    agenda.open(request.id, count: asked.count)
    for number in asked { states[number].request(request, &agenda) }
  }

  private mutating func finish(
    _ job: Job.ID, _ outcome: Outcome, _ random: inout some RandomNumberGenerator
  ) {
    switch agenda.end(job) {
    case .look(let number, let position):
      states[number].endLook(position, outcome, &agenda, &random)
    case .delivery(let number, let position, let issue, let expiresAt):
      states[number].endDelivery(position, issue, expiresAt, outcome, &agenda, &random)
    case .leftover(let delivery, let subject, let isOurs):
      endLeftover(delivery, subject, isOurs, outcome)
    case .removal(let delivery): endRemoval(delivery, outcome)
    case .signature(let draft, let number, let key):
      states[number].endSigning(draft, outcome, &agenda, &random)
      while let next = agenda.takeNext(for: key) {
        states[next].signing = .nothing
        states[next].attend(&agenda, &random)
      }
    case nil: break
    }
  }

  private mutating func stall(_ job: Job.ID) {
    switch agenda.jobs[job] {
    case .look(let number, let position), .delivery(let number, let position, _, _):
      states[number].stall(position, &agenda)
    case .leftover(let delivery, _, _), .removal(let delivery):
      agenda.stalled.insert(delivery.path)
      if agenda.waiting.contains(delivery.path), let (number, position) = places[delivery.path] {
        states[number].recordStalled(position, &agenda)
      }
    case .signature(_, let number, let key):
      for number in [number] + agenda.noteStalled(key) {
        states[number].recordUnsigned(&agenda)
        states[number].plan(&agenda)
      }
    case nil: break
    }
  }
}
