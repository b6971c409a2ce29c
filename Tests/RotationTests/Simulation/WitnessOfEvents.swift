@testable import Rotation

/// What the witness makes of events: each is true, said once, said in time, and says no secret.
extension Witness {
  /// Hears an event; says whether it is worth noting.
  mutating func hear(
    _ event: Event, _ places: [Path: Held], _ identities: [Identity], _ clock: SimulatedClock
  ) throws -> Bool {
    rotated += 1
    // Descriptions take long to make: one in a few of the common event will do.
    if case .rotated = event, rotated % 64 != 0 {} else { try checkSecrecy(event, places) }
    switch event {
    case .rotated(let summary), .kept(let summary):
      var isKept = false
      if case .kept = event { isKept = true }
      try checkEverywhere(summary, places, identities, onlyLasting: isKept)
      if board[summary.identity]?.failures.isEmpty == true { pauses[summary.identity] = nil }
      // One that came late may have ended before: that was said.
      if told[summary.identity]?.expiry != summary.expiresAt { told[summary.identity] = nil }
      guard isKept else { return false }
      let identity = identities.first { $0.name == summary.identity }
      guard let identity, summary.expiresAt - identity.lifetime <= clock.now,
        identity.freshness(ofTokenExpiring: summary.expiresAt, at: clock.now) == .fresh
      else {
        throw Violation("\(summary.identity) is said to be kept, and is not fresh")
      }
    case .deliveryFailed(let subject, let path, let failure, _):
      if let name = subject.identity { troubled.insert(name) }
      guard reported.updateValue(failure.description, forKey: path) != failure.description else {
        throw Violation("the failure at \(path) is reported twice")
      }
    case .deliveryRecovered(_, let path):
      guard reported.removeValue(forKey: path) != nil else {
        throw Violation("\(path) recovered from nothing")
      }
    case .mintFailed(let subject, let failure):
      guard let name = subject.identity else {
        guard subject.key == SimulatedKeys.device else {
          throw Violation("no JWK Set could be made")
        }
        return true
      }
      troubled.insert(name)
      guard reportedMinting.updateValue(failure.description, forKey: name) != failure.description
      else { throw Violation("that minting fails for \(name) is reported twice") }
    case .keyChanged(let name?, let keyID):
      // Of a key that was there before, only because of what another one signed.
      let paths = identities.filter { $0.key == name }.flatMap(\.deliveries).map(\.path)
      let origins = paths.compactMap { places[$0]?.token.origin }
      guard keyIDs[name] != keyID || origins.contains(where: { $0 != .key(keyID) })
      else { throw Violation("\(keyID) is said to be new and is not") }
      keyIDs[name] = keyID
    case .stale(let identity, let expiry): try tell(identity, expiry, .stale, clock)
    case .expired(let identity, let expiry): try tell(identity, expiry, .expired, clock)
    default: break
    }
    return true
  }

  mutating func tell(
    _ name: String, _ expiry: Instant, _ state: Freshness, _ clock: SimulatedClock
  ) throws {
    guard let status = board[name],
      status.identity.freshness(ofTokenExpiring: expiry, at: clock.now) == state
    else { throw Violation("\(name) is called \(state) and is not") }
    if let before = told[name], before.expiry == expiry, before.state >= state {
      throw Violation("that \(name) is \(state) is reported twice")
    }
    told[name] = (expiry, state)
  }

  /// What is reported as delivered everywhere is, or was until a moment ago; one that is kept, but
  /// for places that were reported to fail.
  func checkEverywhere(
    _ summary: TokenSummary, _ places: [Path: Held], _ identities: [Identity], onlyLasting: Bool
  ) throws {
    for identity in identities where identity.name == summary.identity {
      for path in (onlyLasting ? identity.lasting : identity.deliveries).lazy.map(\.path)
      where places[path]?.token.expiresAt != summary.expiresAt && !lost.contains(path)
        && !(onlyLasting && reported[path] != nil)
      {
        throw Violation("\(summary.identity) is reported as delivered, \(path) lacks it")
      }
    }
  }

  func checkSecrecy(_ event: Event, _ places: [Path: Held]) throws {
    let text = "\(event)"
    // Header, claims and signature, by their beginnings or ends: the id that a token may have is no
    // secret, and has any three letters by chance.
    let parts = places.values.lazy.flatMap { held in
      held.bytes.split(separator: UInt8(ascii: ".")).flatMap { [$0.prefix(12), $0.suffix(12)] }
    }
    if parts.contains(where: { text.contains(String(decoding: $0, as: UTF8.self)) }) {
      throw Violation("an event holds token bytes")
    }
  }

  /// That a failing identity's token went stale, or expired, is said by the next try.
  mutating func checkReports(_ status: IdentityStatus, _ clock: SimulatedClock) throws {
    let name = status.identity.name
    guard !status.failures.isEmpty, let expiry = status.oldestExpiry,
      case let state = status.identity.freshness(ofTokenExpiring: expiry, at: clock.now),
      state > .fresh, told[name]?.expiry != expiry || told[name]!.state < state
    else {
      owed[name] = nil
      return
    }
    let since = owed[name] ?? clock.time
    owed[name] = since
    guard clock.time - since <= Witness.longestPause else {
      throw Violation("nobody said that \(name) is \(state)")
    }
  }
}
