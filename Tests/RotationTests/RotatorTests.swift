import Testing

@testable import Rotation

/// The rotator, one situation at a time. What holds in all situations is the simulation's to show.
struct RotatorTests {
  private let start = Instant(seconds: 1_700_000_000)

  private func rotator(_ identities: [Identity], at now: Instant) -> Stepped {
    var rotator = Stepped(SimulatedSigner(0))
    rotator.configure(identities, at: now)
    return rotator
  }

  /// Lets `now` come, and returns the jobs and the events that came out since; looks find `found`.
  private func step(
    _ rotator: inout Stepped, _ now: Instant, found: (Delivery) -> Found = { _ in .nothing }
  ) -> (jobs: [Job], events: [Event]) {
    rotator.step(.woke, at: now)
    var all = rotator.take()
    while case let looks = all.jobs.filter(\.isLook), !looks.isEmpty {
      all.jobs.removeAll(where: \.isLook)
      for job in looks {
        rotator.step(.ended([(job.id, .found(found(job.delivery)))]), at: now)
      }
      let (jobs, events) = rotator.take()
      all.jobs += jobs
      all.events += events
    }
    return all
  }

  private func finish(_ rotator: inout Stepped, _ job: Job, _ failure: Failure?, at now: Instant) {
    rotator.step(.ended([(job.id, failure.map(Outcome.failed) ?? .done)]), at: now)
  }

  @Test func aTokenIsMintedDeliveredAndReplacedBeforeItsThreshold() throws {
    let identity = try Identity.sample(paths: ["/a", "/b"])
    var rotator = rotator([identity], at: start)
    #expect(rotator.totals.unsettled == 1)
    let jobs = step(&rotator, start).jobs
    #expect(jobs.map(\.delivery.path.description) == ["/a", "/b"])
    #expect(rotator.statuses["a"]?.freshness(at: start) == .missing)
    for job in jobs { finish(&rotator, job, nil, at: start) }
    #expect(rotator.take().events.count == 1)
    #expect(rotator.totals.unsettled == 0)
    #expect(rotator.statuses["a"]?.freshness(at: start) == .fresh)
    let counts = try #require(rotator.statuses["a"]).counts
    #expect((counts.issued, counts.issueFailures) == (1, 0))
    #expect((counts.delivered, counts.deliveryFailures) == (2, 0))
    let next = try #require(rotator.nextWake)
    #expect(next < start + .seconds(86_400 - 3_600 - 180))
    #expect(step(&rotator, next - .microseconds(1)).jobs.isEmpty)
    #expect(step(&rotator, next).jobs.count == 2)
  }

  @Test func anIdentityWithoutDeliveriesIsKeptFreshAllTheSame() throws {
    var rotator = rotator([try Identity.sample()], at: start)
    #expect(step(&rotator, start).events.count == 1)
    #expect(rotator.statuses["a"]?.freshness(at: start) == .fresh)
    let next = try #require(rotator.nextWake)
    #expect(step(&rotator, next).events.count == 1)
  }

  @Test func aFailureIsReportedOnceAndTriedAgainAtGrowingPauses() throws {
    var rotator = rotator([try Identity.sample(paths: ["/a", "/b"])], at: start)
    let failure = Failure("no")
    var now = start
    var jobs = step(&rotator, now).jobs
    finish(&rotator, jobs[0], nil, at: now)
    var pauses: [Double] = []
    var reports = 0
    for _ in 0..<12 {
      finish(&rotator, jobs.last!, failure, at: now)
      reports += rotator.take().events.count
      let next = try #require(rotator.nextWake)
      pauses.append(Double((next - now).microseconds) / 1e6)
      now = next
      jobs = step(&rotator, now).jobs
      #expect(jobs.map(\.delivery.path.description) == ["/b"])
    }
    #expect(reports == 1)
    #expect(rotator.statuses["a"]?.counts.deliveryFailures == 12)
    #expect(rotator.totals.failing == 1 && rotator.totals.unsettled == 0)
    for (pause, nominal) in zip(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]) {
      #expect(pause >= 0.9 * Double(nominal) && pause <= 1.1 * Double(nominal))
    }
    #expect(Set(pauses.suffix(6)).count == 6, "each is longer or shorter than it would be")
    finish(&rotator, jobs[0], nil, at: now)
    #expect(rotator.take().events.count == 2)
    #expect(rotator.totals.failing == 0)
  }

  @Test func aJobThatHangsHoldsUpNobody() throws {
    let identities = try [
      Identity.sample(name: "a", paths: ["/a", "/b"]), Identity.sample(name: "c", paths: ["/c"]),
    ]
    var rotator = rotator(identities, at: start)
    let jobs = step(&rotator, start).jobs
    let hanging = try #require(jobs.first { $0.delivery.path.description == "/a" })
    for job in jobs where job.id != hanging.id { finish(&rotator, job, nil, at: start) }
    rotator.step(.stalled([hanging.id]), at: start + .seconds(2))
    #expect(rotator.totals.failing == 1 && rotator.totals.unsettled == 0)
    // Days later the others have rotated, and the hanging one has not been sent a second job.
    var now = start
    for _ in 0..<8 {
      now = try #require(rotator.nextWake)
      let jobs = step(&rotator, now).jobs
      #expect(!jobs.contains { $0.delivery.path.description == "/a" })
      for job in jobs { finish(&rotator, job, nil, at: now) }
    }
    #expect(rotator.statuses["c"]?.freshness(at: now) == .fresh)
    // It comes back with an old token: the newest follows at once.
    finish(&rotator, hanging, nil, at: now)
    let again = rotator.take().jobs
    #expect(again.map(\.delivery.path.description) == ["/a"])
    finish(&rotator, again[0], nil, at: now)
    #expect(rotator.totals.failing == 0)
    #expect(rotator.statuses["a"]?.freshness(at: now) == .fresh)
  }

  @Test func aPathIsNotGivenToAnotherWhileAnOldJobRunsThere() throws {
    var rotator = rotator([try Identity.sample(name: "a", paths: ["/x"])], at: start)
    let old = try #require(step(&rotator, start).jobs.first)
    rotator.configure([try Identity.sample(name: "b", paths: ["/x"])], at: start)
    #expect(step(&rotator, start).jobs.isEmpty)
    finish(&rotator, old, nil, at: start)
    let new = step(&rotator, start).jobs
    #expect(new.count == 1)
    if case .write(let bytes)? = new.first?.operation {
      #expect(String(decoding: bytes, as: UTF8.self).contains("."))
    } else {
      Issue.record("the new identity's token is not written")
    }
    // And a path that nobody wants any more is emptied after the job that ran there.
    rotator.configure([], at: start)
    #expect(step(&rotator, start).jobs.isEmpty)
    finish(&rotator, new[0], nil, at: start)
    guard case .remove? = step(&rotator, start).jobs.first?.operation else {
      Issue.record("the file is left behind")
      return
    }
  }

  @Test func aFailingSignerKeepsWhatWasDelivered() throws {
    let signer = SimulatedSigner(1)
    var rotator = Stepped(signer)
    rotator.configure([try Identity.sample(paths: ["/a"])], at: start)
    for job in step(&rotator, start).jobs { finish(&rotator, job, nil, at: start) }
    signer.isBroken = true
    var now = start
    for _ in 0..<5 {
      now = try #require(rotator.nextWake)
      #expect(step(&rotator, now).jobs.isEmpty)
    }
    #expect(rotator.totals.failing == 1)
    signer.isBroken = false
    now = try #require(rotator.nextWake)
    #expect(step(&rotator, now).jobs.count == 1)
    #expect(rotator.totals.failing == 0)
  }

  @Test func tokensOfTheFutureAreReplacedWhenTheClockIsSetBack() throws {
    var rotator = rotator([try Identity.sample(paths: ["/a"])], at: start)
    for job in step(&rotator, start).jobs { finish(&rotator, job, nil, at: start) }
    _ = rotator.take()
    let back = start - .seconds(2)
    rotator.step(.clockSet(by: .seconds(-2)), at: back)
    #expect(step(&rotator, back).jobs.count == 1)
    // Without being told, too: time that runs backwards says enough.
    #expect(step(&rotator, back - .seconds(2)).jobs.isEmpty, "the first job still runs")
  }

  @Test func aNewKeyIsNotMissedWhenAnOutcomeComesWithIt() throws {
    var rotator = rotator([try Identity.sample(paths: ["/a"])], at: start)
    let first = try #require(step(&rotator, start).jobs.first)
    rotator.step(.signerRead(key: Key.standardName, SimulatedSigner(1)), at: start)
    finish(&rotator, first, nil, at: start)
    let (again, events) = step(&rotator, start)
    #expect(again.count == 1, "the token of the old key stays")
    #expect(
      events.contains {
        if case .keyChanged(nil, KeyID("key-1")) = $0 { true } else { false }
      })
    for job in again { finish(&rotator, job, nil, at: start) }
    rotator.step(.requested(RotationRequest(id: 1, names: ["a"])), at: start + .seconds(9))
    rotator.step(.stalled([first.id]), at: start + .seconds(9))
    #expect(step(&rotator, start + .seconds(9)).jobs.count == 1)
  }

  @Test func aReloadDoesNotEndTheTriesOfAFailingSigner() throws {
    let signer = SimulatedSigner(1)
    var rotator = Stepped(signer)
    let identities = [try Identity.sample(paths: ["/a"])]
    rotator.configure(identities, at: start)
    for job in step(&rotator, start).jobs { finish(&rotator, job, nil, at: start) }
    let held = try #require(rotator.statuses["a"]?.token).compact
    signer.isBroken = true
    let due = try #require(rotator.nextWake)
    #expect(step(&rotator, due).jobs.isEmpty)
    rotator.configure(identities, at: due)
    #expect(step(&rotator, due) { _ in .file(held, isAsConfigured: true) }.jobs.isEmpty)
    #expect(try #require(rotator.nextWake) < due + .seconds(4))
  }

  @Test func whoWaitsForAHangingJobOfAnEarlierConfigurationIsNotSilent() throws {
    var rotator = rotator([try Identity.sample(name: "a", paths: ["/x"])], at: start)
    let hanging = try #require(step(&rotator, start).jobs.first)
    rotator.step(.stalled([hanging.id]), at: start)
    rotator.configure([try Identity.sample(name: "b", paths: ["/x"])], at: start)
    _ = step(&rotator, start)
    #expect(
      rotator.totals.unsettled == 0 && rotator.totals.failing == 1, "the reload would never end")
  }

  @Test func whatIsLostIsMissingUntilItIsDeliveredAgain() throws {
    let identities = [try Identity.sample(paths: ["/a", "/b"])]
    var rotator = rotator(identities, at: start)
    for job in step(&rotator, start).jobs { finish(&rotator, job, nil, at: start) }
    rotator.configure(identities, at: start)
    let jobs = step(&rotator, start).jobs
    #expect(jobs.count == 2)
    #expect(
      rotator.statuses["a"]?.freshness(at: start) == .missing && rotator.totals.unsettled == 1)
    for job in jobs { finish(&rotator, job, nil, at: start) }
    #expect(rotator.statuses["a"]?.freshness(at: start) == .fresh && rotator.totals.unsettled == 0)
  }

  /// A delivered token, and what a look then finds in its place.
  private func delivered() throws -> (Stepped, Found) {
    var rotator = rotator([try Identity.sample(name: "a", paths: ["/a"])], at: start)
    let job = try #require(step(&rotator, start).jobs.first)
    finish(&rotator, job, nil, at: start)
    _ = rotator.take()
    guard case .write(let bytes) = job.operation else { throw Violation("no write") }
    return (rotator, .file(bytes, isAsConfigured: true))
  }

  @Test func aLookThatHungAndFoundAllWellIsForgotten() throws {
    var (rotator, found) = try delivered()
    rotator.step(.touched([Path("/a")]), at: start)
    let look = try #require(rotator.take().jobs.first)
    rotator.step(.stalled([look.id]), at: start)
    #expect(rotator.totals.failing == 1)
    _ = rotator.take()
    rotator.step(.ended([(look.id, .found(found))]), at: start)
    #expect(rotator.totals.failing == 0)
    let events = rotator.take().events
    #expect(events.contains { if case .deliveryRecovered = $0 { true } else { false } })
  }

  @Test func whatHappensDuringALookIsLookedAtAfterIt() throws {
    var (rotator, found) = try delivered()
    rotator.step(.touched([Path("/a")]), at: start)
    let first = try #require(rotator.take().jobs.first)
    rotator.step(.touched([Path("/a")]), at: start)
    #expect(rotator.take().jobs.isEmpty)
    rotator.step(.ended([(first.id, .found(found))]), at: start)
    let second = try #require(rotator.take().jobs.first)
    rotator.step(.ended([(second.id, .found(.nothing))]), at: start)
    #expect(rotator.take().jobs.count == 1, "it is put back")
  }

  @Test func aFailingDeliveryIsNotTriedSoonerBecauseSomethingHappensThere() throws {
    var (rotator, _) = try delivered()
    rotator.step(.touched([Path("/a")]), at: start)
    let look = try #require(rotator.take().jobs.first)
    rotator.step(.ended([(look.id, .found(.nothing))]), at: start)
    let write = try #require(rotator.take().jobs.first)
    finish(&rotator, write, Failure("no"), at: start)
    // Its own try may be what happened.
    rotator.step(.touched([Path("/a")]), at: start)
    let again = try #require(rotator.take().jobs.first)
    rotator.step(.ended([(again.id, .found(.nothing))]), at: start)
    #expect(rotator.take().jobs.isEmpty)
    let next = try #require(rotator.nextWake)
    #expect(next > start + .milliseconds(800) && next < start + .seconds(2))
    #expect(step(&rotator, next).jobs.count == 1)
  }

  @Test func aThousandIdentitiesAreAllSeenTo() throws {
    let identities = try (0..<1_000).map { try Identity.sample(name: "i\($0)", paths: ["/\($0)"]) }
    var rotator = rotator(identities, at: start)
    for job in step(&rotator, start).jobs { finish(&rotator, job, nil, at: start) }
    _ = rotator.take()
    var now = start
    var rotated = 0
    while let next = rotator.nextWake, next < start + .seconds(82_800) {
      now = next
      for job in step(&rotator, now).jobs {
        rotated += 1
        finish(&rotator, job, nil, at: now)
      }
      _ = rotator.take()
    }
    #expect(rotated == 1_000)
    #expect(now > start + .seconds(82_800 - 900))
  }

  @Test func aReloadWithANewKeyReplacesTheTokenOfAnIdentityWithoutFiles() throws {
    for paths in [[], ["/socket"]] {
      let identities = [try Identity.sample(paths: paths)]
      var rotator = rotator(identities, at: start)
      for job in step(&rotator, start).jobs { finish(&rotator, job, nil, at: start) }
      let keys = Keys(signing: SimulatedSigner(1))
      rotator.step(.configured(identities, keys), at: start + .seconds(9))
      #expect(rotator.statuses["a"]?.token?.origin == .key(KeyID("key-1")), "\(paths)")
    }
  }

  @Test func whatAKeyReplacedIsBelievedUntilItsLastTokenEnds() throws {
    let identity = try Identity.sample()
    var rotator = rotator([identity], at: start)
    let old = try #require(rotator.statuses["a"]?.token)
    let changed = start + .seconds(600)
    rotator.step(.signerRead(key: Key.standardName, SimulatedSigner(1)), at: changed)
    let believes = { (keys: Keys, token: Token, now: Instant) in
      (try? Verifier(keys).verify(token.compact, at: now)) != nil
    }
    #expect(believes(rotator.keys, old, old.expiresAt - .seconds(1)))
    #expect(!believes(rotator.keys, old, old.expiresAt))
    // Who has the old secret goes on making tokens.
    let late = sampleToken(identity, at: changed)
    #expect(believes(rotator.keys, late, old.expiresAt - .seconds(1)))
    #expect(late.expiresAt > old.expiresAt && !believes(rotator.keys, late, old.expiresAt))
    // Of several, the last few; and what signs again is not one of them.
    for number in [2, 3, 0, 4, 5] {
      rotator.step(.signerRead(key: Key.standardName, SimulatedSigner(number)), at: changed)
    }
    #expect(
      rotator.keys.all[0].replaced.map(\.signer.keyID.description)
        == [4, 0, 3, 2].map { "key-\($0)" })
    rotator.configure([identity], at: changed)
    #expect(rotator.keys.all[0].replaced.count == 4, "a reload forgets none")
  }

  @Test func eachReplacedSignerIsBelievedUntilItsOwnLastTokenEnds() throws {
    let (short, long) = (Duration.seconds(86_400), Duration.seconds(864_000))
    let stays = try Identity.sample(name: "a", lifetime: short)
    let goes = try Identity.sample(name: "b", lifetime: long)
    var rotator = rotator([stays, goes], at: start)
    rotator.configure([stays], at: start + .seconds(60))
    for number in [1, 2, 0, 3] {
      let now = start + .seconds(number == 1 ? 120 : 180)
      rotator.step(.signerRead(key: Key.standardName, SimulatedSigner(number)), at: now)
    }
    let until = rotator.keys.all[0].replaced.map { ($0.signer.keyID.description, $0.until) }
    #expect(until.map(\.0) == ["key-0", "key-2", "key-1"])
    #expect(
      until.map(\.1) == [
        start + long, start + .seconds(180) + short, start + .seconds(120) + short,
      ])
  }

  @Test func slowSignaturesLetOthersHaveTheirTurn() throws {
    let most = Limits.slowSignaturesAtOnce
    let identities = try (0..<3 * most + 1).map { try Identity.sample(name: "i\($0)") }
    let keys = Keys(signing: SimulatedSigner(1, isRandomised: true))
    var rotator = Rotator(keys: keys)
    var random = Seeded(1)
    var turn = rotator.step(.configured(identities, keys), at: start, random: &random)
    var issued = [turn.changed.count { $0.token != nil }]
    while turn.isUnfinished {
      #expect(try #require(turn.nextWake) <= start && turn.totals.unsettled > 0)
      turn = rotator.step(.woke, at: start, random: &random)
      issued.append(turn.changed.count { $0.token != nil })
    }
    #expect(issued == [most, most, most, 1])
    #expect(try #require(turn.nextWake) > start && turn.totals.unsettled == 0)
    // Those that wait are not forgotten when the clock is set back.
    turn = rotator.step(
      .signerRead(key: Key.standardName, SimulatedSigner(3, isRandomised: true)),
      at: start + .seconds(60), random: &random)
    #expect(turn.isUnfinished)
    var count = turn.changed.count
    repeat {
      turn = rotator.step(.clockSet(by: .seconds(-30)), at: start + .seconds(30), random: &random)
      count += turn.changed.count { $0.token?.origin == .key(SimulatedSigner.keyID(3)) }
    } while turn.isUnfinished
    #expect(count >= identities.count && turn.nextWake.map { $0 > start + .seconds(30) } == true)
    // Quick ones are all made at once.
    turn = rotator.step(
      .signerRead(key: Key.standardName, SimulatedSigner(2)), at: start + .seconds(90),
      random: &random)
    #expect(!turn.isUnfinished && turn.changed.count == identities.count)
  }

  @Test func publishedIsWhatHasAPublicKeyAndMayHaveTokensOut() throws {
    var rotator = Stepped(SimulatedSigner(1, isRandomised: true, kid: "1"))
    rotator.configure([try Identity.sample()], at: start)
    let published = { (keys: Keys, now: Instant) in
      guard case .array(let all)? = keys.jwks(at: now)["keys"] else { return -1 }
      return all.count
    }
    #expect(published(rotator.keys, start) == 1)
    let changed = start + .seconds(60)
    let signer = SimulatedSigner(3, isRandomised: true, kid: "3")
    rotator.step(.signerRead(key: Key.standardName, signer), at: changed)
    let end = try #require(rotator.keys.all[0].replaced.first?.until)
    #expect(published(rotator.keys, end - .microseconds(1)) == 2)
    #expect(published(rotator.keys, end) == 1)
    #expect(published(Keys(signing: SimulatedSigner(0)), start) == 0)
  }

  @Test func soManyEndsOfTokensAreRememberedAndTheEarliestGoesFirst() {
    var agenda = Agenda(Keys(signing: SimulatedSigner(0)))
    agenda.now = start
    for number in 1...Limits.endsRemembered + 3 {
      let end = start + .seconds(1_000 - number)
      agenda.noteExpiry(end, of: .key(SimulatedSigner.keyID(number)))
    }
    #expect(agenda.lastExpiries.count == Limits.endsRemembered)
    #expect(agenda.lastExpiries[.key(SimulatedSigner.keyID(1))] == start + .seconds(999))
    // Those that are over go before one that is not.
    agenda.now = start + .seconds(900)
    agenda.noteExpiry(start + .seconds(5_000), of: .key(KeyID("another")))
    #expect(agenda.lastExpiries.count == 100)
  }

  @Test func aTokenIsBelievedOfTheKeyThatSignedIt() throws {
    let identity = try Identity.sample()
    let token = sampleToken(identity, at: start)
    let (ours, other) = (SimulatedSigner(0), SimulatedSigner(1))
    let keys = Keys([
      Key(name: "one", signing: other), Key(name: "two", signing: other, previous: ours),
      Key(name: "three", signing: other),
    ])
    #expect(try Verifier(keys).verify(token.compact, at: start).key == "two")
    #expect(try Verifier(keys, key: "two").verify(token.compact, at: start).key == "two")
    for name in ["one", "three"] {
      #expect(throws: VerificationError.self) {
        try Verifier(keys, key: name).verify(token.compact, at: start)
      }
    }
  }

  @Test func aReloadWhileMintingFailsIsNoReasonToStop() throws {
    let signer = SimulatedSigner(0)
    let identities = [try Identity.sample()]
    var rotator = Stepped(signer)
    rotator.configure(identities, at: start)
    signer.isBroken = true
    rotator.step(.requested(RotationRequest(id: 1, names: ["a"])), at: start + .seconds(9))
    #expect(rotator.answered == [1])
    rotator.configure(identities, at: start + .seconds(9))
    #expect(try #require(rotator.nextWake) < start + .seconds(15))
  }

  /// Two files, and the content of the one token that both of them hold.
  private func found() throws -> (rotator: Stepped, looks: [Job], Found) {
    let identity = try Identity.sample(paths: ["/a", "/b"])
    let token = sampleToken(identity, at: start - .seconds(60)).compact
    var rotator = rotator([identity], at: start)
    let looks = rotator.take().jobs
    return (rotator, looks, .file(token, isAsConfigured: true))
  }

  @Test func aTokenIsNotKeptForAPlaceThatLostItMeanwhile() throws {
    var (rotator, looks, token) = try found()
    rotator.step(.ended([(looks[1].id, .found(token))]), at: start)
    rotator.step(.touched([Path("/b")]), at: start)
    let again = try #require(rotator.take().jobs.first)
    rotator.step(.ended([(again.id, .found(.nothing))]), at: start)
    rotator.step(.ended([(looks[0].id, .found(token))]), at: start)
    let paths = rotator.take().jobs.map(\.delivery.path.description)
    #expect(paths.contains("/b"), "what was lost is written")
  }

  /// /a hangs at the start, and holds another token than /b: that of /b is kept, and goes to /a.
  @Test func whatHeldOneTokenIsNotTakenToHoldAnother() throws {
    let signer = SimulatedSigner(0)
    let identity = try Identity.sample(paths: ["/a", "/b"])
    var rotator = Stepped(signer)
    rotator.configure([identity], at: start)
    let looks = rotator.take().jobs
    let tokens = [60, 120].map { sampleToken(identity, at: start - .seconds($0)).compact }
    rotator.step(
      .ended([(looks[1].id, .found(.file(tokens[0], isAsConfigured: true)))]), at: start)
    signer.isBroken = true
    rotator.step(.stalled([looks[0].id]), at: start + .seconds(2))
    signer.isBroken = false
    rotator.step(
      .ended([(looks[0].id, .found(.file(tokens[1], isAsConfigured: true)))]),
      at: start + .milliseconds(2_100))
    rotator.step(.woke, at: start + .seconds(4))
    let (jobs, events) = rotator.take()
    #expect(events.contains { if case .kept = $0 { true } else { false } })
    let writes = jobs.compactMap { job -> (Path, [UInt8])? in
      if case .write(let content) = job.operation { (job.delivery.path, content) } else { nil }
    }
    #expect(writes.map(\.0) == [Path("/a")] && writes.first?.1 == tokens[0])
  }

  @Test func aSignatureThatCannotBeCheckedIsNotAnotherKeys() throws {
    let signer = SimulatedSigner(0)
    let identity = try Identity.sample(paths: ["/a"])
    var rotator = Stepped(signer)
    rotator.configure([identity], at: start)
    let look = try #require(rotator.take().jobs.first)
    signer.isBroken = true
    let token = sampleToken(identity, at: start - .seconds(60))
    rotator.step(
      .ended([(look.id, .found(.file(token.compact, isAsConfigured: true)))]), at: start)
    let events = rotator.take().events
    #expect(!events.contains { if case .keyChanged = $0 { true } else { false } })
    #expect(events.contains { if case .mintFailed = $0 { true } else { false } })
  }

  @Test func whoAskedIsAnsweredWhenANewKeyCannotSign() throws {
    var (rotator, _) = try delivered()
    rotator.step(.touched([Path("/a")]), at: start + .seconds(9))
    let look = try #require(rotator.take().jobs.first)
    rotator.step(.requested(RotationRequest(id: 7, names: ["a"])), at: start + .seconds(9))
    let broken = SimulatedSigner(1)
    broken.isBroken = true
    rotator.step(.signerRead(key: Key.standardName, broken), at: start + .seconds(9))
    rotator.step(.ended([(look.id, .found(.nothing))]), at: start + .seconds(9))
    #expect(rotator.answered == [7])
  }

  @Test func whatCannotBeReadIsStillRemoved() throws {
    var (rotator, _) = try delivered()
    rotator.step(.touched([Path("/a")]), at: start)
    let look = try #require(rotator.take().jobs.first)
    rotator.configure([], at: start)
    rotator.step(.ended([(look.id, .found(.unreadable(Failure("no"))))]), at: start)
    guard case .remove? = rotator.take().jobs.first?.operation else {
      Issue.record("the file is left behind, and nobody says so")
      return
    }
  }

  @Test func hooksDoNotWaitForALookThatHangs() throws {
    let identities = [try Identity.sample(paths: ["/a", "/b"])]
    var rotator = rotator(identities, at: start)
    let jobs = step(&rotator, start).jobs
    finish(&rotator, jobs[0], nil, at: start)
    rotator.configure(identities, at: start)
    let look = try #require(rotator.take().jobs.first)
    finish(&rotator, jobs[1], nil, at: start)
    rotator.step(.stalled([look.id]), at: start + .seconds(2))
    let rotated = rotator.take().events.contains { if case .rotated = $0 { true } else { false } }
    #expect(rotated)
  }

  @Test func whatIsNotATokenIsNotReplaced() throws {
    let identities = [try Identity.sample(paths: ["/a", "/b"])]
    var rotator = rotator(identities, at: start)
    let foreign = Found.file(Array("root:x:0:0".utf8), isAsConfigured: true)
    let (jobs, events) = step(&rotator, start) { $0.path == Path("/a") ? foreign : .nothing }
    #expect(jobs.map(\.delivery.path.description) == ["/b"])
    #expect(rotator.totals.failing == 1)
    #expect(events.contains { if case .deliveryFailed = $0 { true } else { false } })
    for job in jobs { finish(&rotator, job, nil, at: start) }
    // It is looked at again, and not removed with its identity.
    let next = try #require(rotator.nextWake)
    #expect(step(&rotator, next) { _ in foreign }.jobs.isEmpty)
    rotator.configure([], at: next)
    let removed = step(&rotator, next).jobs
    #expect(removed.map(\.delivery.path.description) == ["/b"])
    // Once it is gone, the delivery works.
    var other = self.rotator(identities, at: start)
    _ = step(&other, start) { _ in foreign }
    let later = try #require(other.nextWake)
    #expect(step(&other, later).jobs.count == 2)
  }

  @Test func whatThisRunWroteIsReplacedWhateverTookItsPlace() throws {
    let before = [try Identity.sample(paths: ["/a"])]
    var rotator = rotator(before, at: start)
    for job in step(&rotator, start).jobs { finish(&rotator, job, nil, at: start) }
    let foreign = Found.file(Array("junk".utf8), isAsConfigured: true)
    rotator.configure(before, at: start)
    #expect(step(&rotator, start) { _ in foreign }.jobs.count == 1)
    // For another identity, too.
    rotator.configure([try Identity.sample(name: "b", paths: ["/a"])], at: start)
  }

  @Test func aLookThatHangsHoldsUpNoOtherPlace() throws {
    var rotator = rotator([try Identity.sample(paths: ["/a", "/b"])], at: start)
    let looks = rotator.take().jobs
    #expect(looks.count == 2 && rotator.nextWake == nil)
    rotator.step(.ended([(looks[1].id, .found(.nothing))]), at: start)
    #expect(step(&rotator, start).jobs.isEmpty, "the first token waits for the other look")
    rotator.step(.stalled([looks[0].id]), at: start + .seconds(2))
    let jobs = step(&rotator, start + .seconds(2)).jobs
    #expect(jobs.map(\.delivery.path.description) == ["/b"])
    finish(&rotator, jobs[0], nil, at: start + .seconds(2))
    rotator.step(.ended([(looks[0].id, .found(.nothing))]), at: start + .seconds(9))
    #expect(step(&rotator, start + .seconds(9)).jobs.map(\.delivery.path.description) == ["/a"])
  }

  @Test func whatMayBeReplacedIsATokenOrNothing() throws {
    let token = String(
      decoding: sampleToken(try Identity.sample(), at: start).compact, as: UTF8.self)
    let file = Delivery.sample("/a")
    for text in [
      "", "\n", "\0\0", token, token + "\n", " \(token)\n", String(token.dropLast(9)),
      "A=\(token)\n", "Authorization: Bearer \(token)\n", #"{"token":"\#(token)"}"#,
    ] {
      #expect(file.isReplaceable(Array(text.utf8)), "\(text)")
    }
    for text in [
      "root:x:0:0:root:/root:/bin/bash\n", "A=1\nB=\(token)\n", "\(token)\nmore", "{}",
      "password", "-----BEGIN PRIVATE KEY-----", #"{"identity":"a"}"#, "\u{1}",
    ] {
      #expect(!file.isReplaceable(Array(text.utf8)), "\(text)")
    }
  }
}

/// A rotator, and what came of its steps.
private struct Stepped {
  private var rotator: Rotator
  private var random = Seeded(9)
  private(set) var statuses: [String: IdentityStatus] = [:]
  private(set) var nextWake: Instant?
  private(set) var totals = Totals()
  private(set) var answered: [RotationRequest.ID] = []
  private var actions: [Action] = []

  /// What tokens are believed of.
  private(set) var keys: Keys

  init(_ signer: SimulatedSigner) {
    keys = Keys(signing: signer)
    rotator = Rotator(keys: keys)
  }

  mutating func configure(_ identities: [Identity], at now: Instant) {
    step(.configured(identities, keys), at: now)
  }

  mutating func step(_ input: Input, at now: Instant) {
    let turn = rotator.step(input, at: now, random: &random)
    for status in turn.changed { statuses[status.identity.name] = status }
    if let keys = turn.keys { self.keys = keys }
    nextWake = turn.nextWake
    totals = turn.totals
    answered += turn.answered
    actions += turn.actions
  }

  /// The jobs and events since this was last asked.
  mutating func take() -> (jobs: [Job], events: [Event]) {
    defer { actions = [] }
    var taken: (jobs: [Job], events: [Event]) = ([], [])
    for action in actions {
      switch action {
      case .run(let job): taken.jobs.append(job)
      case .sign: break
      case .report(let event): taken.events.append(event)
      }
    }
    return taken
  }
}

extension Job {
  fileprivate var isLook: Bool { if case .look = operation { true } else { false } }
}
