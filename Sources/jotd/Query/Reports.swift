import Rotation

/// What the query service tells of identities: never a token byte.
extension IdentityStatus {
  /// The state in a word.
  func stateName(at now: Instant) -> String { "\(freshness(at: now))" }

  /// The present failures, joined with semicolons; nil when nothing fails.
  var lastError: String? {
    failures.isEmpty ? nil : failures.map(\.description).joined(separator: "; ")
  }

  private func time(_ instant: Instant?) -> JSON { instant.map { .string($0.rfc3339) } ?? .null }

  /// State, times and the last error: what health says of an identity.
  fileprivate func summary(at now: Instant) -> [JSON.Member] {
    [
      JSON.Member("state", .string(stateName(at: now))),
      JSON.Member("expires_at", time(oldestExpiry)),
      JSON.Member("refresh_at", time(refreshAt)),
      JSON.Member("retry_at", time(retryAt)),
      JSON.Member("last_error", lastError.map(JSON.string) ?? .null),
      JSON.Member("in_use", inUse(at: now)),
      JSON.Member("newest", newest),
    ]
  }

  /// The token that the worst served reader has: the oldest that a delivery holds.
  private func inUse(at now: Instant) -> JSON {
    guard let oldestExpiry else { return .null }
    let left = Duration.seconds((oldestExpiry - now).components.seconds)
    return .object([
      JSON.Member("expires_at", time(oldestExpiry)),
      JSON.Member("stale_at", time(oldestExpiry - identity.refreshBefore)),
      JSON.Member("remaining_seconds", .seconds(left)),
    ])
  }

  /// The token that was made last, and is in use or on its way.
  private var newest: JSON {
    guard let token else { return .null }
    return .object([
      JSON.Member("issued_at", time(token.issuedAt)),
      JSON.Member("expires_at", time(token.expiresAt)),
      JSON.Member("refresh_at", time(refreshAt)),
    ])
  }

  /// All that is known of an identity, its token excepted.
  func description(at now: Instant) -> JSON {
    let deliveries = identity.deliveries.map { delivery -> JSON in
      .string(delivery.path.description)
    }
    return .object(
      [JSON.Member("identity", .string(identity.name))] + identity.bearer.members
        + summary(at: now) + [
          JSON.Member("lifetime_seconds", .seconds(identity.lifetime)),
          JSON.Member("refresh_before_seconds", .seconds(identity.refreshBefore)),
          JSON.Member("key", .string(identity.key)),
          JSON.Member("key_id", token.map { .string($0.origin.description) } ?? .null),
          JSON.Member("deliveries", .array(deliveries)),
        ])
  }
}

extension JSON {
  /// A span in seconds, as a JSON number, exact to the microsecond.
  fileprivate static func seconds(_ span: Duration) -> JSON {
    let (whole, rest) = abs(span.microseconds).quotientAndRemainder(dividingBy: 1_000_000)
    var fraction = rest == 0 ? "" : "." + String(String(1_000_000 + rest).dropFirst())
    while fraction.last == "0" { fraction.removeLast() }
    return .number((span < .zero ? "-" : "") + "\(whole)\(fraction)")
  }
}

extension ConfigurationVersion {
  fileprivate var json: JSON {
    .object([
      JSON.Member("file", .string(file)), JSON.Member("fingerprint", .string(fingerprint)),
    ])
  }
}

extension KeyRingStatus {
  /// All that is known of a ring of keys.
  var description: JSON {
    .object([
      JSON.Member("key", .string(key)),
      JSON.Member("rotate_at", rotation.map { .string($0.rfc3339) } ?? .null),
      JSON.Member("last_error", failure.map { .string($0.description) } ?? .null),
      JSON.Member("members", .array(members.map(\.description))),
    ])
  }

  /// What is not well at `now`, each in a sentence.
  func faults(at now: Instant) -> [String] {
    let hangs = workingSince.map { ContinuousClock.now - $0 > Limits.keyWorkTime } ?? false
    let all = [
      failure.map { "\($0)" },
      hangs ? "its folder hangs: is its file system, or the disk under it, in trouble?" : nil,
      overdue.map { $0 <= now } == true ? "another key should sign by now, and does not" : nil,
    ]
    return all.compactMap { $0.map { "the key \(key): \($0)" } }
  }
}

extension KeyRingStatus.Entry {
  fileprivate var description: JSON {
    let times = [
      ("made_at", member.made.wall), ("published_at", member.published?.wall),
      ("activated_at", member.activated?.wall), ("retired_at", member.retired?.wall),
      (member.state == .published ? "ready_at" : "until", until),
    ]
    return .object(
      [
        JSON.Member("number", .number(Int64(member.number))),
        JSON.Member("kid", .string(member.kid)),
        JSON.Member("algorithm", .string(member.algorithm.rawValue)),
        JSON.Member("state", .string(member.isRevoked ? "revoked" : member.state.rawValue)),
      ] + times.compactMap { name, time in time.map { JSON.Member(name, .string($0.rfc3339)) } })
  }
}

/// The health of the whole, after draft-inadarei-api-health-check-06.
struct Health {
  enum Status: String { case pass, warn, fail }

  let status: Status
  let json: JSON

  init(_ store: StatusStore, at now: Instant) {
    let general = store.general
    let statuses = store.all
    let states = statuses.map { $0.freshness(at: now) }
    var notes: [JSON] = []
    if let refused = general.refusedReload {
      notes.append(.string("the last reload was refused: \(refused)"))
    }
    notes += general.secretFaults.sorted { $0.key < $1.key }.map { .string($0.value) }
    notes += general.hookFaults.map(JSON.string)
    for publication in general.publications {
      notes += publication.failures.map { .string("the key \(publication.key): \($0)") }
    }
    notes += general.rings.flatMap { $0.faults(at: now) }.map(JSON.string)
    let isFailing =
      states.contains { $0 == .expired || $0 == .missing }
      || general.publications.contains { $0.isMissing && !$0.failures.isEmpty }
    let isWorrying = states.contains(.stale) || statuses.contains { !$0.failures.isEmpty }
    status = isFailing ? .fail : isWorrying || !notes.isEmpty ? .warn : .pass
    json = .object([
      JSON.Member("status", .string(status.rawValue)),
      JSON.Member("version", .string("1")),
      JSON.Member("releaseId", .string(version)),
      JSON.Member(
        "description", .string("fresh tokens for \(counted(statuses.count, "identity"))")),
      JSON.Member("configuration", general.configuration.map(\.json) ?? .null),
      JSON.Member("notes", .array(notes)),
      JSON.Member(
        "identities",
        .object(
          statuses.map { JSON.Member($0.identity.name, .object($0.summary(at: now))) })),
    ])
  }
}
