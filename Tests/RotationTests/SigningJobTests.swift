import Testing

@testable import Rotation

/// Keys that sign elsewhere, one situation at a time.
struct SigningJobTests {
  private let start = Instant(seconds: 1_700_000_000)
  private let device = SimulatedSigner(0, isRemote: true)

  /// A rotator of identities without deliveries, unless there are paths, that all use one key.
  private struct Host {
    var rotator: Rotator
    var random = Seeded(3)
    var signatures: [SigningJob] = []
    var jobs: [Job] = []
    var events: [Event] = []
    var answered: [RotationRequest.ID] = []
    var statuses: [String: IdentityStatus] = [:]
    var totals = Totals()
    var nextWake: Instant?
    var now: Instant

    init(_ keys: Keys, _ identities: [Identity], at now: Instant) {
      self.now = now
      rotator = Rotator(keys: keys)
      step(.configured(identities, keys))
    }

    mutating func step(_ input: Input) {
      let turn = rotator.step(input, at: now, random: &random)
      for action in turn.actions {
        switch action {
        case .run(let job): jobs.append(job)
        case .sign(let job): signatures.append(job)
        case .report(let event): events.append(event)
        }
      }
      answered += turn.answered
      if turn.numbers != nil { statuses = [:] }
      for status in turn.changed { statuses[status.identity.name] = status }
      (totals, nextWake) = (turn.totals, turn.nextWake)
    }

    /// The device answers what it was asked first.
    mutating func sign(_ failure: Failure? = nil) throws {
      let job = signatures.removeFirst()
      var signature: [UInt8] = []
      try job.signer.sign(job.message, into: &signature)
      step(.ended([(job.id, failure.map(Outcome.failed) ?? .signed(signature))]))
    }

    mutating func endJobs(_ found: Found = .nothing) {
      while !jobs.isEmpty {
        let job = jobs.removeFirst()
        if case .look = job.operation {
          step(.ended([(job.id, .found(found))]))
        } else {
          step(.ended([(job.id, .done)]))
        }
      }
    }
  }

  private func identities(_ names: [String]) throws -> [Identity] {
    try names.map { try Identity.sample(name: $0) }
  }

  @Test func oneSignatureIsMadeAtATimeAndEachTokenLivesFromItsOwn() throws {
    var host = Host(Keys(signing: device), try identities(["a", "b", "c"]), at: start)
    for (number, name) in ["a", "b", "c"].enumerated() {
      #expect(host.signatures.count == 1 && host.totals.unsettled == 3 - number)
      host.now = start + .seconds(number + 1)
      try host.sign()
      #expect(host.statuses[name]?.token?.issuedAt == start + .seconds(number))
    }
    #expect(host.signatures.isEmpty && host.totals.unsettled == 0 && host.totals.jobs == 0)
  }

  @Test func whoeverWaitsForADeviceThatHangsFailsWithItAndIsServedWithIt() throws {
    var host = Host(Keys(signing: device), try identities(["a", "b"]), at: start)
    host.step(.stalled([host.signatures[0].id]))
    #expect(host.totals.unsettled == 0 && host.totals.failing == 2)
    // Who comes later knows it at once.
    host.step(.configured(try identities(["a", "b", "c"]), Keys(signing: device)))
    #expect(host.totals.unsettled == 0 && host.totals.failing == 3 && host.signatures.count == 1)
    while !host.signatures.isEmpty { try host.sign() }
    #expect(host.totals.failing == 0 && host.statuses.values.allSatisfy { $0.token != nil })
  }

  @Test func aFailureIsTriedAgainAfterAPauseAndTheNextGoesOn() throws {
    var host = Host(Keys(signing: device), try identities(["a", "b"]), at: start)
    try host.sign(Failure("gone"))
    #expect(host.signatures.count == 1 && host.totals.failing == 1)
    try host.sign()
    #expect(host.statuses["b"]?.token != nil && host.signatures.isEmpty)
    let next = try #require(host.nextWake)
    #expect(next >= start + .milliseconds(900) && next <= start + .milliseconds(1100))
    host.now = next
    host.step(.woke)
    try host.sign()
    #expect(host.statuses["a"]?.token != nil && host.totals.failing == 0)
  }

  @Test func aDeviceThatAnswersAgainIsAskedAtOnce() throws {
    var host = Host(Keys(signing: device), try identities(["a"]), at: start)
    try host.sign(Failure("gone"))
    host.step(.signerRead(key: Key.standardName, device))
    #expect(host.signatures.count == 1)
    // Whom nothing ails is not touched.
    try host.sign()
    host.step(.signerRead(key: Key.standardName, device))
    #expect(host.signatures.isEmpty)
  }

  @Test func whatAFormerKeySignsIsDropped() throws {
    var host = Host(Keys(signing: device), try identities(["a", "b"]), at: start)
    let other = SimulatedSigner(1, isRemote: true)
    host.step(.signerRead(key: Key.standardName, other))
    #expect(host.signatures.map(\.signer.keyID) == [device.keyID, other.keyID])
    try host.sign()
    #expect(host.statuses["a"]?.token == nil && host.signatures.count == 1)
    try host.sign()
    try host.sign()
    for name in ["a", "b"] { #expect(host.statuses[name]?.token?.origin == .key(other.keyID)) }
    // And one that signs here does not wait for the device.
    host.now = start + .seconds(1)
    host.step(.requested(RotationRequest(id: 1, names: ["a"])))
    let here = SimulatedSigner(2)
    host.step(.signerRead(key: Key.standardName, here))
    for name in ["a", "b"] { #expect(host.statuses[name]?.token?.origin == .key(here.keyID)) }
  }

  @Test func aRequestIsAnsweredByATokenThatWasMadeForIt() throws {
    var host = Host(Keys(signing: device), try identities(["a"]), at: start)
    host.now = start + .seconds(1)
    host.step(.requested(RotationRequest(id: 1, names: ["a"])))
    try host.sign()
    #expect(host.statuses["a"]?.token?.issuedAt == start && host.answered.isEmpty)
    try host.sign()
    #expect(host.statuses["a"]?.token?.issuedAt == start + .seconds(1) && host.answered == [1])
    host.step(.requested(RotationRequest(id: 2, names: ["a"])))
    host.step(.stalled([host.signatures[0].id]))
    #expect(host.answered == [1, 2], "what hangs is not waited for")
  }

  @Test func whoIsTakenAwayHoldsUpNobody() throws {
    var host = Host(Keys(signing: device), try identities(["a", "b", "c"]), at: start)
    host.step(.configured(try identities(["b", "c"]), Keys(signing: device)))
    #expect(host.signatures.count == 2 && host.totals.jobs == 1)
    try host.sign()
    #expect(host.statuses.values.allSatisfy { $0.token == nil })
    try host.sign()
    try host.sign()
    #expect(host.statuses.values.allSatisfy { $0.token != nil } && host.signatures.isEmpty)
    // Who stays keeps what is being signed, wherever it stands in the configuration.
    host.now = start + .seconds(1)
    host.step(.requested(RotationRequest(id: 1, names: ["c"])))
    host.step(.configured(try identities(["c", "b"]), Keys(signing: device)))
    #expect(host.signatures.count == 1)
    try host.sign()
    #expect(host.statuses["c"]?.token?.issuedAt == host.now && host.answered == [1])
  }

  @Test func whatWasGoodAgainMeanwhileStays() throws {
    var host = Host(Keys(signing: device), try identities(["a"]), at: start)
    try host.sign()
    let due = try #require(host.nextWake)
    host.now = due
    host.step(.woke)
    #expect(host.signatures.count == 1)
    host.now = start + .seconds(5)
    host.step(.clockSet(by: .seconds(-5)))
    try host.sign()
    #expect(host.statuses["a"]?.token?.issuedAt == start)
  }

  @Test func aTokenThatEndedWhileItWasSignedIsAFailure() throws {
    var host = Host(Keys(signing: device), try identities(["a"]), at: start)
    host.now = start + .seconds(86_400)
    try host.sign()
    #expect(host.totals.failing == 1 && host.statuses["a"]?.token == nil)
  }

  // MARK: A key that cannot be had yet

  private func keys(_ source: Result<any Signer, Failure>) -> Keys {
    let file = FileDelivery(
      path: Path("/set"), format: .jwks, owner: nil, group: nil, mode: 0o644, inPlace: false)
    return Keys([
      Key(
        name: Key.standardName, source: source,
        publication: Publication(key: Key.standardName, files: [file], hooks: []))
    ])
  }

  @Test func whatAnAbsentKeySignedBeforeIsKeptWhenItComes() throws {
    let identity = try Identity.sample(paths: ["/a"])
    let there = sampleToken(identity, at: start).compact
    let found = Found.file(there, isAsConfigured: true)
    var host = Host(
      keys(.failure(Failure("away"))), [identity], at: start + .seconds(10))
    host.endJobs(found)
    #expect(host.statuses["a"]?.token == nil && host.signatures.isEmpty && host.jobs.isEmpty)
    #expect(host.statuses["a"]?.failures.first?.description == "away")
    #expect(host.totals.unsettled == 0 && host.totals.failingPublications == 1)
    host.events = []
    host.step(.signerRead(key: Key.standardName, device))
    #expect(host.signatures.isEmpty, "its place is looked at before")
    while let look = host.jobs.first(where: { $0.subject.identity != nil }) {
      host.jobs.removeAll { $0.id == look.id }
      host.step(.ended([(look.id, .found(found))]))
    }
    host.endJobs()
    #expect(host.statuses["a"]?.token?.compact == there && host.signatures.isEmpty)
    #expect(host.totals.failing == 0 && host.totals.failingPublications == 0)
    #expect(host.events.contains { if case .kept = $0 { true } else { false } })
    #expect(!host.events.contains { if case .keyChanged = $0 { true } else { false } })
  }

  @Test func aKeyThatGoesAwayLeavesWhatItSigned() throws {
    let identity = try Identity.sample(paths: ["/a"])
    var host = Host(keys(.success(device)), [identity], at: start)
    host.endJobs()
    try host.sign()
    host.endJobs()
    let token = try #require(host.statuses["a"]?.token)
    host.now = start + .seconds(10)
    host.step(.configured([identity], keys(.failure(Failure("away")))))
    host.endJobs(.file(token.compact, isAsConfigured: true))
    #expect(host.statuses["a"]?.token?.compact == token.compact && host.totals.failing == 1)
    // The same comes back: nothing has changed.
    host.events = []
    host.step(.signerRead(key: Key.standardName, device))
    host.endJobs(.file(token.compact, isAsConfigured: true))
    #expect(host.statuses["a"]?.token?.compact == token.compact && host.totals.failing == 0)
    #expect(host.signatures.isEmpty)
    #expect(!host.events.contains { if case .keyChanged = $0 { true } else { false } })
    // Or another.
    host.step(.configured([identity], keys(.failure(Failure("away")))))
    host.endJobs(.file(token.compact, isAsConfigured: true))
    host.step(.signerRead(key: Key.standardName, SimulatedSigner(1)))
    #expect(host.events.contains { if case .keyChanged = $0 { true } else { false } })
  }
}
