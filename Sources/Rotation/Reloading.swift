/// When the configuration changes.
extension Rotator {
  /// Makes `identities`, and what the keys publish, the subjects: see `Input.configured`.
  mutating func configure(_ identities: [Identity]) {
    let before = states
    agenda.changes = Changes(
      from: numbers.compactMapValues { before[$0].subject.identity }, to: identities)
    let publications = agenda.keys.publications
    let subjects = identities.map(Subject.identity) + publications.map(Subject.publication)
    // Where those are from now on that go on as they were.
    var movedTo: [Int: Int] = [:]
    var formerly = [Int?](repeating: nil, count: subjects.count)
    for (number, subject) in subjects.enumerated() {
      guard let old = self.number(of: subject.name), before[old].subject.rotates(as: subject)
      else { continue }
      movedTo[old] = number
      formerly[number] = old
    }
    let ours = Set(before.lazy.filter { movedTo[$0.number] == nil }.flatMap(\.ours))
    states = subjects.enumerated().map { number, subject in
      guard let old = formerly[number] else {
        return RotationState(subject, number: number, ours: ours)
      }
      return before[old].kept(as: subject, number: number)
    }
    agenda.publications = publications.count
    index()
    agenda.numbers = numbers
    repurposeJobs(movedTo, before)
    for var gone in before where movedTo[gone.number] == nil {
      gone.answerRequests(&agenda)
      if let token = gone.token {
        agenda.noteExpiry(token.expiresAt, of: token.origin)
      }
      removeUnwanted(gone)
    }
    agenda.totals.failing = states.count { !$0.failures.isEmpty && $0.subject.identity != nil }
    agenda.totals.unsettled = states.count { !$0.isSettled }
    agenda.schedule = Schedule(count: states.count)
    agenda.waiting = []
    agenda.clearLines()
    for number in states.indices {
      let state = states[number]
      if state.isDelivered, state.failures.isEmpty, !state.needsToken(agenda) {
        states[number].plan(&agenda)
      } else {
        agenda.schedule.set(number, due: agenda.now)
      }
    }
  }

  private mutating func index() {
    numbers = [:]
    places = [:]
    for (number, state) in states.enumerated() {
      if let identity = state.subject.identity { numbers[identity.name] = number }
      for (position, delivery) in state.subject.deliveries.enumerated() {
        places[delivery.path] = (number, position)
      }
    }
  }

  /// Points the running jobs to where their identities are now, and marks those without one.
  private mutating func repurposeJobs(_ movedTo: [Int: Int], _ before: [RotationState]) {
    for (id, purpose) in agenda.jobs {
      switch purpose {
      case .look(let number, let position):
        if let moved = movedTo[number] {
          agenda.repurpose(id, .look(number: moved, position: position))
          // What it finds is the first that is known since.
          if !agenda.stalled.contains(states[moved].path(position)) {
            states[moved].unread.insert(position)
          }
        } else {
          abandon(id, before[number], position)
        }
      case .delivery(let number, let position, let issue, let expiresAt):
        if let moved = movedTo[number] {
          agenda.repurpose(
            id,
            .delivery(number: moved, position: position, issue: issue, expiresAt: expiresAt))
        } else {
          abandon(id, before[number], position)
        }
      case .leftover, .removal: break
      case .signature(let draft, let number, let key):
        if let moved = movedTo[number] {
          agenda.repurpose(id, .signature(draft, number: moved, key: key))
        } else {
          agenda.dropSignature(of: key)
        }
      }
    }
  }

  /// The job has nobody any more whom it is for; until it comes back, its path is not free.
  private mutating func abandon(_ job: Job.ID, _ state: RotationState, _ position: Int) {
    let delivery = state.subject.deliveries[position]
    agenda.repurpose(
      job,
      .leftover(
        delivery, subject: state.subject.name, isOurs: state.claimed.contains(position)))
    agenda.busy.insert(delivery.path)
  }

  /// What this run may write, it may also remove; what it found to be somebody else's stays.
  private mutating func removeUnwanted(_ gone: RotationState) {
    for (position, delivery) in gone.subject.deliveries.enumerated()
    where gone.claimed.contains(position) && places[delivery.path] == nil
      && !agenda.busy.contains(delivery.path)
    {
      startRemoval(delivery, of: gone.subject.name)
    }
  }

  private mutating func startRemoval(_ delivery: Delivery, of subject: Subject.Name) {
    agenda.busy.insert(delivery.path)
    agenda.start(.removal(delivery), delivery, of: subject, .remove)
  }

  /// A job of an earlier configuration came back. `isOurs`: this run may remove what is there.
  mutating func endLeftover(
    _ delivery: Delivery, _ subject: Subject.Name, _ isOurs: Bool, _ outcome: Outcome
  ) {
    leave(delivery.path)
    var isOurs = isOurs
    switch outcome {
    case .found(.unreadable): break
    case .found(let found): isOurs = delivery.reasonToSpare(found) == nil
    case .done, .failed, .signed: break
    }
    if isOurs, places[delivery.path] == nil { startRemoval(delivery, of: subject) }
  }

  mutating func endRemoval(_ delivery: Delivery, _ outcome: Outcome) {
    leave(delivery.path)
    switch outcome {
    case .done: agenda.report(.removed(path: delivery.path, isEmptied: delivery.isInPlace))
    case .failed(let failure): agenda.report(.removalFailed(path: delivery.path, failure))
    case .found, .signed: break
    }
  }

  /// No job of an earlier configuration runs at `path` any more: who waited for it may begin.
  private mutating func leave(_ path: Path) {
    agenda.busy.remove(path)
    agenda.stalled.remove(path)
    guard agenda.waiting.remove(path) != nil, let (number, position) = places[path] else { return }
    states[number].startJobs(position...position, &agenda)
  }
}

extension RotationState {
  /// The same rotation in a new configuration.
  fileprivate func kept(as subject: Subject, number: Int) -> RotationState {
    var kept = self
    kept.subject = subject
    kept.number = number
    // Whoever reloads may have mended what failed, and waits until all is there.
    kept.retryAt = nil
    if kept.signing == .waiting { kept.signing = .nothing }
    kept.isSettled = false
    // What is being written there needs no look.
    kept.unread = subject.lastingPositions
    kept.unread.subtract(running)
    return kept
  }
}
