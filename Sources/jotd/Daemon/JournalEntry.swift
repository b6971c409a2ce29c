import Rotation

/// An event as the journal has it: a priority, a sentence, and fields (systemd.journal-fields(7)).
///
/// The MESSAGE_ID of each kind is stable; `systemd/jotd.catalog` explains each to
/// `journalctl -x`.
struct JournalEntry {
  /// As in syslog(3): the lower, the worse.
  enum Priority: Int, Comparable {
    case critical = 2
    case error, warning, notice, info

    static func < (left: Priority, right: Priority) -> Bool { left.rawValue < right.rawValue }
  }

  /// What fields are made from, once they are asked for: lines on a terminal have none.
  private enum Source {
    case field(String, String)
    case token(TokenSummary)
  }

  let priority: Priority
  let message: String
  private var sources: [Source] = []

  /// An entry of no event.
  init(_ priority: Priority, _ message: String) {
    self.priority = priority
    self.message = message
  }

  private init(_ priority: Priority, _ messageID: String, _ message: String) {
    self.init(priority, message)
    sources.reserveCapacity(4)
    sources.append(.field("MESSAGE_ID", messageID))
  }

  /// Those beside MESSAGE and PRIORITY, MESSAGE_ID first.
  var fields: [(name: String, value: String)] {
    sources.flatMap { source in
      switch source {
      case .field(let name, let value): [(name, value)]
      case .token(let token):
        [("JOTD_IDENTITY", token.identity)] + JournalEntry.fields(of: token.bearer) + [
          ("JOTD_EXPIRES_AT", token.expiresAt.rfc3339), ("JOTD_KEY_ID", token.origin.description),
        ] + (token.id.map { [("JOTD_TOKEN_ID", $0)] } ?? [])
      }
    }
  }

  private static func fields(of bearer: Bearer) -> [(name: String, value: String)] {
    switch bearer {
    case .user(let id, let role): [("JOTD_USER_ID", id.text), ("JOTD_ROLE", role.rawValue)]
    case .subject(let subject): [("JOTD_SUBJECT", subject.text)]
    }
  }

  private consuming func with(_ name: String, _ value: String?) -> JournalEntry {
    guard let value else { return self }
    return with(.field(name, value))
  }

  private consuming func with(_ source: Source) -> JournalEntry {
    var entry = self
    entry.sources.append(source)
    return entry
  }

  private consuming func about(_ token: TokenSummary) -> JournalEntry { with(.token(token)) }

  private consuming func about(_ identity: String) -> JournalEntry {
    with("JOTD_IDENTITY", identity)
  }

  private consuming func about(_ subject: Subject.Name) -> JournalEntry {
    switch subject {
    case .identity(let name): with("JOTD_IDENTITY", name)
    case .publication(let key): with("JOTD_KEY", key)
    }
  }

  private consuming func about(_ path: Path) -> JournalEntry {
    with("JOTD_DELIVERY", path.description)
  }

  private consuming func because(_ failure: Failure) -> JournalEntry {
    failure.code == 0 ? self : with("ERRNO", String(failure.code))
  }

  /// A member of a ring is in another state.
  private init(_ key: String, _ member: KeyRing.Member, _ until: Instant?) {
    let moment = until.map { " \($0.rfc3339)" }
    let what =
      switch member.state {
      case .published: "is published, and signs once verifiers know it"
      case .active: "signs from now on"
      case .retiring:
        "signs no more, and stays published until the last of its tokens has ended,"
          + (moment ?? " later")
      case .retired where member.isRevoked: "is revoked: who has a token of it is refused"
      case .retired: "is not published any more"
      }
    self = JournalEntry(
      member.isRevoked ? .warning : .notice, "c61d3f7e90b24a5f8d1e2b6c7a9f0348",
      "the key \(key): number \(member.number) (\(member.shortKid)) \(what)"
    ).with("JOTD_KEY", key).with("JOTD_KID", member.shortKid).with(
      "JOTD_KEY_STATE", member.state.rawValue)
  }

  init(_ event: Event) {
    self =
      switch event {
      case .rotated(let token):
        JournalEntry(
          .info, "8d654dd63a64492a86d8675068808164",
          joined(
            token.identity, ": new token for ", token.bearer.description, ", expires ",
            token.expiresAt.rfc3339, ", next rotation ", token.refreshAt.rfc3339)
        ).about(token)
      case .kept(let token):
        JournalEntry(
          .info, "f1e69b2b38e04ff99156a32d31eb806c",
          joined(
            token.identity, ": the token found is kept, expires ", token.expiresAt.rfc3339,
            ", next rotation ", token.refreshAt.rfc3339)
        ).about(token)
      case .mintFailed(let subject, let failure):
        JournalEntry(
          .error, "73bd055e608c42eb8d07669e46d58f6b",
          "\(subject): no \(subject.noun) could be made: \(failure.sentence) Trying again until it "
            + "works"
        ).about(subject).because(failure)
      case .deliveryFailed(let subject, let path, let failure, let holdsToken):
        JournalEntry(
          .error, "3c01d667befe4bb5bc207baf701934aa",
          "\(subject): \(failure.sentence) "
            + (holdsToken
              ? "The \(subject.noun) delivered before stays"
              : "Its readers have no \(subject.noun) there")
            + "; trying again until it works"
        ).about(subject).about(path).because(failure)
      case .deliveryRecovered(let subject, let path):
        JournalEntry(
          .notice, "a388de61155248fdbfce8f38135dda5e",
          "\(subject): delivering to \(path) works again"
        ).about(subject).about(path)
      case .displaced(let subject, let path, let displacement):
        JournalEntry(
          .warning, "b0c5d7de2e0f4a1c9a4f5b8a3d5e6c17",
          "\(subject): \(path) \(displacement.inWords(subject.noun)): it is put back"
        ).about(subject).about(path)
      case .published(let key):
        JournalEntry(
          .info, "4d0f6bb2c34a4b7f8b1a52c9e07d3f68",
          "\(Subject.Name.publication(key: key)): its JWK Set is published"
        ).about(.publication(key: key))
      case .stale(let identity, let expiresAt):
        JournalEntry(
          .warning, "8ad8bab015ff474296049827f5e65688",
          "\(identity): the token in use is stale and could not be replaced, "
            + "expires \(expiresAt.rfc3339)"
        ).about(identity).with("JOTD_EXPIRES_AT", expiresAt.rfc3339)
      case .expired(let identity, let expiresAt):
        JournalEntry(
          .critical, "968a2f9b919241438459819bc2a40074",
          "\(identity): the token in use expired \(expiresAt.rfc3339) and could not be replaced: "
            + "its client is locked out"
        ).about(identity).with("JOTD_EXPIRES_AT", expiresAt.rfc3339)
      case .removed(let path, let isEmptied):
        JournalEntry(
          .info, "f1fb22449aae417d8c4e5b9a5c658f2e",
          "\(path): \(isEmptied ? "emptied" : "removed"), because no identity delivers there any "
            + "more"
        ).about(path)
      case .removalFailed(let path, let failure):
        JournalEntry(
          .warning, "8f3bd2c84c8241ac8888e5f3ef784835",
          "\(failure.sentence) No identity delivers there any more: remove it by hand"
        ).about(path).because(failure)
      case .keyChanged(let key, let keyID):
        JournalEntry(
          .notice, "a316df58dcef474f92d06964c02e320d",
          (key.map { "the key \($0) changed: its tokens are replaced" }
            ?? "the secret changed: every token is replaced") + " (key \(keyID))"
        ).with("JOTD_KEY_ID", keyID.description).with("JOTD_KEY", key)
      case .ringChanged(let key, let member, let until): JournalEntry(key, member, until)
      case .ringFailed(let key, let failure):
        JournalEntry(
          .error, "7f2b1c9be8d54c03a1c6e4d2f0958b37",
          "the key \(key): \(failure.sentence) Until that works, no other key follows the one that "
            + "signs; trying again"
        ).about(.publication(key: key)).because(failure)
      case .ringRecovered(let key):
        JournalEntry(
          .notice, "b8d0a6f5143e4f0e9c27d5a1e6b3409d", "the key \(key): its folder works again"
        ).about(.publication(key: key))
      case .secretUnreadable(let key, let failure):
        JournalEntry(
          .error, "ce80070391cb4eeba1a621745967ba61",
          "\(failure.sentence) The secret read before stays in use; trying again until it works"
        ).because(failure).with("JOTD_KEY", key)
      case .secretReadable(let key):
        JournalEntry(
          .notice, "9689160b9811443cae58da30c61b79be",
          "the secret \(key.map { "of the key \($0) " } ?? "")can be read again"
        ).with("JOTD_KEY", key)
      case .deviceFailed(let key, let failure):
        JournalEntry(
          .error, "f270e724a86642c29baaf2d03d035373",
          "\(failure.sentence) Identities keep the tokens that they have; trying again until it "
            + "answers"
        ).because(failure).with("JOTD_KEY", key)
      case .deviceRecovered(let key):
        JournalEntry(
          .notice, "58758b351d044017b0695a430981340d",
          "the device with the key\(key.map { " \($0)" } ?? "") answers again"
        ).with("JOTD_KEY", key)
      case .clockSet(let step):
        JournalEntry(
          .notice, "8ff9bae1f9994e6f9850ca7009321f2f",
          abs(step.microseconds) < 100_000
            ? "the machine resumed from sleep, or its clock was set by less than 100ms"
            : "the clock was set \(step < .zero ? "back" : "forward") by "
              + Duration.milliseconds((abs(step.microseconds) + 500) / 1_000).timeSpan)
      case .refused(let user, let name, let unit, let operation):
        JournalEntry(
          .warning, "8d3e3b0bc70b448eb081635409868097",
          (name.map { "user \(redacted($0)) (uid \(user))" } ?? "uid \(user)")
            + "\(unit.map { ", unit \($0)," } ?? "") may not \(operation)"
        ).with("JOTD_PEER_UID", String(user)).with("JOTD_PEER_UNIT", unit)
      case .notRenewed(let identity, let unit, let expiresAt):
        JournalEntry(
          .notice, "f1eec0169c0b4479952d617017654e23",
          "\(identity): \(unit) has the token as its credential, which expires "
            + "\(expiresAt.rfc3339), and no hook restarts or reloads it for the next one"
        ).about(identity).with("JOTD_PEER_UNIT", unit)
          .with("JOTD_EXPIRES_AT", expiresAt.rfc3339)
      case .hookFailed(let hook, let failure, let isRetried):
        JournalEntry(
          .error, "f7345fd4d6ea4375a2315371b346ad0c",
          "the hook \(hook) failed: \(failure.sentence) "
            + (isRetried ? "Trying again until it works" : "It runs again at the next rotation")
        ).because(failure)
      case .hookRecovered(let hook):
        JournalEntry(.notice, "20623336adcc4f73b280ab12e58d9ace", "the hook \(hook) works again")
      case .hookOutput(let hook, let line):
        JournalEntry(.info, "83d7133ff66f4645bcfdc3e1ba09c086", "\(hook): \(line)")
      case .started(let version, let identities):
        JournalEntry(
          .notice, "376d3ca190f644c4934078ff6dcf28e7",
          "jotd \(version) starts with \(counted(identities, "identity"))")
      case .startRefused(let reason):
        JournalEntry(
          .error, "ac4e1f14c59e433eacdb6a28ffbb7e53", "jotd does not start: \(reason)")
      case .ready(let identities, let failing, let names):
        JournalEntry(
          .notice, "55cc0ac0e2dd40c9874d9fbe9b545bd4",
          failing == 0
            ? "ready: \(counted(identities, "identity")) delivered"
            : "ready: \(identities - failing) of \(counted(identities, "identity")) delivered, "
              + "failing: \(listed(names, of: failing))")
      case .reloaded(let changes):
        JournalEntry(
          .notice, "f1983f993adc4df0b668fe7a134d6050",
          "configuration reloaded: \(changes.kept) unchanged, \(changes.added) added, "
            + "\(changes.changed) changed, \(changes.removed) removed")
      case .reloadRefused(let reason):
        JournalEntry(
          .error, "9b88feb6c95a42909e3fa9f834395b02",
          "the new configuration is refused, the running one stays: \(reason)")
      case .warning(let text):
        JournalEntry(.warning, "646f318830274502b02391ee9917c609", text)
      case .stopping(let signal):
        JournalEntry(
          .notice, "df87c3bf0e9244adb5ecee690107195d",
          "stopping on \(signal): the files stay, and nobody replaces their tokens")
      }
  }
}

extension Subject.Name {
  /// What is kept fresh, in words.
  fileprivate var noun: String {
    switch self {
    case .identity: "token"
    case .publication: "JWK Set"
    }
  }
}

extension Displacement {
  fileprivate func inWords(_ noun: String) -> String {
    switch self {
    case .removal: "was removed or moved away"
    case .emptying: "was emptied"
    case .something: "held something other than a \(noun), which somebody put in its place"
    case .token: "held another \(noun), which somebody put in its place"
    case .attributes: "was given another owner, group or mode"
    }
  }
}

extension Failure {
  /// In words, with one full stop at the end: what a program said of it may have one already.
  fileprivate var sentence: String {
    let text = description.utf8.reversed().drop { " .;:\n".utf8.contains($0) }.reversed()
    return String(decoding: Array(text), as: UTF8.self) + "."
  }
}

/// Some of so many names, and how many more there are.
private func listed(_ names: [String], of count: Int) -> String {
  let more = count - names.count
  return names.joined(separator: ", ") + (more > 0 ? " and \(more) more" : "")
}
