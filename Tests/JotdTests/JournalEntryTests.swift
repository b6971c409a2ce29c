import Testing

@testable import Rotation
@testable import jotd

/// From an event to what the journal has of it.
struct JournalEntryTests {
  private let failure = Failure("/run/out: No such file or directory: create it", code: 2)

  @Test func aFailedDeliverySaysWhatReadersHave() {
    let entry = JournalEntry(
      .deliveryFailed(.identity("door"), path: Path("/run/out/a"), failure, holdsToken: true))
    #expect(entry.priority == .error)
    #expect(
      entry.message
        == "door: /run/out: No such file or directory: create it. The token delivered before "
        + "stays; trying again until it works")
    #expect(entry.fields.contains { $0 == ("JOTD_IDENTITY", "door") })
    #expect(entry.fields.contains { $0 == ("JOTD_DELIVERY", "/run/out/a") })
    #expect(entry.fields.contains { $0 == ("ERRNO", "2") })
    let other = JournalEntry(
      .deliveryFailed(.identity("door"), path: Path("/run/out/a"), failure, holdsToken: false))
    #expect(other.message.contains("Its readers have no token there"))
  }

  @Test func aTokensFieldsNameWhomItSpeaksFor() throws {
    func fields(_ bearer: Bearer) throws -> [String: String] {
      let identity = try Identity(
        name: "gate", bearer: bearer, claims: bearer.role == nil ? bearer.members : [],
        lifetime: .seconds(60), refreshBefore: .seconds(10), deliveries: [], key: KeyLabel())
      let token = Token(
        compact: [], issuedAt: moment, expiresAt: moment, origin: .key(KeyID("zero")))
      let entry = JournalEntry(.rotated(TokenSummary(token, of: identity)))
      return Dictionary(uniqueKeysWithValues: entry.fields.map { ($0.name, $0.value) })
    }
    let user = try fields(.user(ByteString("u"), .admin))
    #expect((user["JOTD_USER_ID"], user["JOTD_ROLE"]) == ("u", "admin"))
    #expect(user["JOTD_SUBJECT"] == nil)
    let subject = try fields(.subject(ByteString("s")))
    #expect(subject["JOTD_SUBJECT"] == "s")
    #expect((subject["JOTD_USER_ID"], subject["JOTD_ROLE"]) == (nil, nil))
    for found in [user, subject] {
      #expect((found["JOTD_IDENTITY"], found["JOTD_KEY_ID"]) == ("gate", "zero"))
    }
  }

  @Test func numbersHaveTheirWords() {
    #expect(
      JournalEntry(.ready(identities: 1, failing: 0, names: [])).message
        == "ready: 1 identity delivered")
    #expect(
      JournalEntry(.ready(identities: 9, failing: 3, names: ["a", "b"])).message
        == "ready: 6 of 9 identities delivered, failing: a, b and 1 more")
  }

  @Test func eachKindOfEventHasAnIDOfItsOwn() {
    let events: [Event] = [
      .mintFailed(.identity("a"), failure), .deliveryRecovered(.identity("a"), path: Path("/a")),
      .displaced(.identity("a"), path: Path("/a"), by: .removal),
      .stale(identity: "a", expiresAt: moment), .expired(identity: "a", expiresAt: moment),
      .removed(path: Path("/a"), isEmptied: false), .keyChanged(key: nil, KeyID("zero")),
      .secretUnreadable(key: nil, failure), .secretReadable(key: nil),
      .deviceFailed(key: nil, failure), .deviceRecovered(key: nil), .clockSet(.seconds(1)),
      .hookRecovered(hook: "h"), .reloaded(Changes()), .reloadRefused("no"), .warning("w"),
      .startRefused("no"), .stopping(signal: "SIGTERM"),
    ]
    let entries = events.map { JournalEntry($0) }
    let ids = entries.compactMap { $0.fields.first { $0.name == "MESSAGE_ID" }?.value }
    #expect(Set(ids).count == entries.count && ids.allSatisfy { $0.utf8.count == 32 })
    #expect(entries.allSatisfy { !$0.message.isEmpty })
  }
}
