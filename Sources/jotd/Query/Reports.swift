import Rotation

/// What the query service tells of identities: never a token byte.
extension Standing {
  /// The state in a word.
  func stateName(at now: Instant) -> String { "\(state(at: now))" }

  /// The last thing that went wrong and still is; nil when nothing is.
  var lastError: String? {
    failures.isEmpty ? nil : failures.map(\.description).joined(separator: "; ")
  }

  private func time(_ instant: Instant?) -> JSON { instant.map { .string($0.rfc3339) } ?? .null }

  /// State, times and the last error: what health says of an identity.
  fileprivate func summary(at now: Instant) -> [JSON.Member] {
    [
      JSON.Member("state", .string(stateName(at: now))),
      JSON.Member("issued_at", time(token.map { Instant(seconds: $0.issuedAt) })),
      JSON.Member("expires_at", time(oldestExpiry)),
      JSON.Member("refresh_at", time(refreshAt)),
      JSON.Member("last_error", lastError.map(JSON.string) ?? .null),
    ]
  }

  /// All that is known of an identity, its token excepted.
  func description(at now: Instant) -> JSON {
    let deliveries = identity.deliveries.map { delivery -> JSON in
      .string(delivery.path.description)
    }
    return .object(
      [
        JSON.Member("identity", .string(identity.name)),
        JSON.Member("user_id", .string(identity.userID)),
        JSON.Member("role", .string(identity.role.rawValue)),
      ] + summary(at: now) + [
        JSON.Member("lifetime", .string(identity.lifetime.timeSpan)),
        JSON.Member("refresh_before", .string(identity.refreshBefore.timeSpan)),
        JSON.Member("key_id", token.map { .string($0.keyID.description) } ?? .null),
        JSON.Member("deliveries", .array(deliveries)),
      ])
  }
}

/// The health of the whole, after draft-inadarei-api-health-check-06.
struct Health {
  enum Status: String { case pass, warn, fail }

  let status: Status
  let json: JSON

  init(_ board: Noticeboard, at now: Instant) {
    let general = board.general
    let standings = board.all
    let states = standings.map { $0.state(at: now) }
    var notes: [JSON] = []
    if let refused = general.refusedReload {
      notes.append(.string("the last reload was refused: \(refused)"))
    }
    if let fault = general.secretFault { notes.append(.string(fault)) }
    notes += general.hookFaults.map(JSON.string)
    let isFailing = states.contains { $0 == .expired || $0 == .missing }
    let isWorrying = states.contains(.stale) || standings.contains { !$0.failures.isEmpty }
    status = isFailing ? .fail : isWorrying || !notes.isEmpty ? .warn : .pass
    json = .object([
      JSON.Member("status", .string(status.rawValue)),
      JSON.Member("version", .string("1")),
      JSON.Member("releaseId", .string(version)),
      JSON.Member(
        "description", .string("fresh tokens for \(counted(standings.count, "identity"))")),
      JSON.Member("notes", .array(notes)),
      JSON.Member(
        "identities",
        .object(
          standings.map { JSON.Member($0.identity.name, .object($0.summary(at: now))) })),
    ])
  }
}
