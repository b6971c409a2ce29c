/// How the newest token comes to the deliveries of one subject.
extension RotationState {
  /// Starts what there is to do at those of `positions` that have no job: a look where none was
  /// taken, and a write where the newest token is missing.
  mutating func startJobs(_ positions: ClosedRange<Int>, _ agenda: inout Agenda) {
    // A token of a former key helps nobody; while none can be minted, what was delivered stays.
    let token = token.flatMap { isCurrent($0, agenda) ? $0 : nil }
    for (position, delivery) in subject.deliveries.enumerated()
    where positions.contains(position) && !running.contains(position) {
      let isWanted = token != nil && undelivered.contains(position)
      let needsLook = unread.contains(position) || suspect.contains(position)
      guard needsLook || isWanted else { continue }
      guard !agenda.busy.contains(delivery.path) else {
        agenda.waiting.insert(delivery.path)
        if agenda.stalled.contains(delivery.path) { recordStalled(position, &agenda) }
        continue
      }
      running.insert(position)
      // What happens while somebody looks is looked at after that.
      suspect.remove(position)
      if let token, !needsLook, claimed.contains(position) {
        agenda.start(
          .delivery(
            number: number, position: position, issue: issue, expiresAt: token.expiresAt),
          delivery, of: subject.name, .write(subject.content(token, at: delivery)))
      } else {
        agenda.start(
          .look(number: number, position: position), delivery, of: subject.name, .look)
      }
    }
  }

  /// A try to bring the token of `issue`, which ends at `expiresAt`, to `position` came back.
  mutating func endDelivery(
    _ position: Int, _ issue: Int, _ expiresAt: Instant, _ outcome: Outcome,
    _ agenda: inout Agenda, _ random: inout some RandomNumberGenerator
  ) {
    agenda.stalled.remove(path(position))
    running.remove(position)
    answer(position, issue)
    if case .failed(let failure) = outcome {
      fail(position, failure, &agenda, &random)
    } else {
      held[position] = expiresAt
      succeed(position, issue, &agenda)
    }
    if self.issue != issue || suspect.contains(position) {
      startJobs(position...position, &agenda)
    }
    plan(&agenda)
  }

  /// `position` holds the token of `issue` now, which may not be the newest any more.
  private mutating func succeed(_ position: Int, _ issue: Int, _ agenda: inout Agenda) {
    counts.delivered += 1
    recover(position, &agenda)
    guard self.issue == issue else { return }
    undelivered.remove(position)
    if isDelivered { completeRotation(&agenda) }
  }
}
