import Testing

@testable import Rotation

/// The rotator, one situation at a time. What holds in all situations is the simulation's to show.
struct RotatorTests {
  private let start = Instant(seconds: 1_700_000_000)

  private func rotator(_ identities: [Identity], at now: Instant) -> Rotator {
    var rotator = Rotator(signer: SimulatedSigner(0))
    rotator.apply(identities, at: now)
    return rotator
  }

  /// Advances, and returns the jobs and the events that came out; looks find `found`.
  private func step(
    _ rotator: inout Rotator, _ now: Instant, found: (Delivery) -> Found = { _ in .nothing }
  ) -> (jobs: [Job], events: [Event]) {
    var random = Seeded(9)
    var all: (jobs: [Job], events: [Event]) = ([], [])
    var looks: [Job] = []
    repeat {
      for job in looks {
        rotator.finish(job.id, .found(found(job.delivery)), at: now, random: &random)
      }
      rotator.advance(to: now, random: &random)
      let (jobs, events) = orders(&rotator)
      looks = jobs.filter(\.isLook)
      all.jobs += jobs.filter { !$0.isLook }
      all.events += events
    } while !looks.isEmpty
    return all
  }

  private func orders(_ rotator: inout Rotator) -> (jobs: [Job], events: [Event]) {
    var jobs: [Job] = []
    var events: [Event] = []
    for order in rotator.takeOrders() {
      switch order {
      case .run(let job): jobs.append(job)
      case .report(let event): events.append(event)
      }
    }
    return (jobs, events)
  }

  private func finish(_ rotator: inout Rotator, _ job: Job, _ failure: Failure?, at now: Instant) {
    var random = Seeded(9)
    rotator.finish(job.id, failure.map(Outcome.failed) ?? .done, at: now, random: &random)
  }

  @Test func aTokenIsMintedDeliveredAndReplacedBeforeItsThreshold() throws {
    let identity = try Identity.sample(paths: ["/a", "/b"])
    var rotator = rotator([identity], at: start)
    #expect(rotator.unsettled == 1)
    let jobs = step(&rotator, start).jobs
    #expect(jobs.map(\.delivery.path.description) == ["/a", "/b"])
    #expect(rotator.state(of: "a", at: start) == .missing)
    for job in jobs { finish(&rotator, job, nil, at: start) }
    #expect(orders(&rotator).events.count == 1)
    #expect(rotator.unsettled == 0)
    #expect(rotator.state(of: "a", at: start) == .fresh)
    let counts = try #require(rotator.takeChanged().first).counts
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
    #expect(rotator.state(of: "a", at: start) == .fresh)
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
      reports += orders(&rotator).events.count
      let next = try #require(rotator.nextWake)
      pauses.append(Double((next - now).microseconds) / 1e6)
      now = next
      jobs = step(&rotator, now).jobs
      #expect(jobs.map(\.delivery.path.description) == ["/b"])
    }
    #expect(reports == 1)
    #expect(rotator.takeChanged().first?.counts.deliveryFailures == 12)
    #expect(rotator.failing == 1 && rotator.unsettled == 0)
    for (pause, nominal) in zip(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]) {
      #expect(pause >= 0.9 * Double(nominal) && pause <= 1.1 * Double(nominal))
    }
    #expect(Set(pauses.suffix(6)).count == 1)
    finish(&rotator, jobs[0], nil, at: now)
    #expect(orders(&rotator).events.count == 2)
    #expect(rotator.failing == 0)
  }

  @Test func aJobThatHangsHoldsUpNobody() throws {
    let identities = try [
      Identity.sample(name: "a", paths: ["/a", "/b"]), Identity.sample(name: "c", paths: ["/c"]),
    ]
    var rotator = rotator(identities, at: start)
    let jobs = step(&rotator, start).jobs
    let hanging = try #require(jobs.first { $0.delivery.path.description == "/a" })
    for job in jobs where job.id != hanging.id { finish(&rotator, job, nil, at: start) }
    rotator.noteHanging(hanging.id, at: start + .seconds(2))
    #expect(rotator.failing == 1 && rotator.unsettled == 0)
    // Days later the others have rotated, and the hanging one has not been sent a second job.
    var now = start
    for _ in 0..<8 {
      now = try #require(rotator.nextWake)
      let jobs = step(&rotator, now).jobs
      #expect(!jobs.contains { $0.delivery.path.description == "/a" })
      for job in jobs { finish(&rotator, job, nil, at: now) }
    }
    #expect(rotator.state(of: "c", at: now) == .fresh)
    // It comes back with an old token: the newest follows at once.
    finish(&rotator, hanging, nil, at: now)
    let again = orders(&rotator).jobs
    #expect(again.map(\.delivery.path.description) == ["/a"])
    finish(&rotator, again[0], nil, at: now)
    #expect(rotator.failing == 0)
    #expect(rotator.state(of: "a", at: now) == .fresh)
  }

  @Test func aPathIsNotGivenToAnotherWhileAnOldJobRunsThere() throws {
    var rotator = rotator([try Identity.sample(name: "a", paths: ["/x"])], at: start)
    let old = try #require(step(&rotator, start).jobs.first)
    rotator.apply([try Identity.sample(name: "b", paths: ["/x"])], at: start)
    #expect(step(&rotator, start).jobs.isEmpty)
    finish(&rotator, old, nil, at: start)
    let new = step(&rotator, start).jobs
    #expect(new.count == 1)
    if case .write(let bytes)? = new.first?.deed {
      #expect(String(decoding: bytes, as: UTF8.self).contains("."))
    } else {
      Issue.record("the new identity's token is not written")
    }
    // And a path that nobody wants any more is emptied after the job that ran there.
    rotator.apply([], at: start)
    #expect(step(&rotator, start).jobs.isEmpty)
    finish(&rotator, new[0], nil, at: start)
    guard case .remove? = step(&rotator, start).jobs.first?.deed else {
      Issue.record("the file is left behind")
      return
    }
  }

  @Test func aFailingSignerKeepsWhatWasDelivered() throws {
    let signer = SimulatedSigner(1)
    var rotator = Rotator(signer: signer)
    rotator.apply([try Identity.sample(paths: ["/a"])], at: start)
    for job in step(&rotator, start).jobs { finish(&rotator, job, nil, at: start) }
    signer.isBroken = true
    var now = start
    for _ in 0..<5 {
      now = try #require(rotator.nextWake)
      #expect(step(&rotator, now).jobs.isEmpty)
    }
    #expect(rotator.failing == 1)
    signer.isBroken = false
    now = try #require(rotator.nextWake)
    #expect(step(&rotator, now).jobs.count == 1)
    #expect(rotator.failing == 0)
  }

  @Test func tokensOfTheFutureAreReplacedWhenTheClockIsSetBack() throws {
    var rotator = rotator([try Identity.sample(paths: ["/a"])], at: start)
    for job in step(&rotator, start).jobs { finish(&rotator, job, nil, at: start) }
    _ = orders(&rotator)
    let back = start - .seconds(2)
    rotator.clockWasSet(by: .seconds(-2), to: back)
    #expect(step(&rotator, back).jobs.count == 1)
    // Without being told, too: time that runs backwards says enough.
    #expect(step(&rotator, back - .seconds(2)).jobs.isEmpty, "the first job still runs")
  }

  @Test func aNewKeyIsNotMissedWhenAnOutcomeComesWithIt() throws {
    var rotator = rotator([try Identity.sample(paths: ["/a"])], at: start)
    let first = try #require(step(&rotator, start).jobs.first)
    rotator.use(SimulatedSigner(1), at: start)
    finish(&rotator, first, nil, at: start)
    let (again, events) = step(&rotator, start)
    #expect(again.count == 1, "the token of the old key stays")
    #expect(events.contains { if case .keyChanged(KeyID("key-1")) = $0 { true } else { false } })
    for job in again { finish(&rotator, job, nil, at: start) }
    rotator.rotate(["a"], at: start + .seconds(9))
    rotator.noteHanging(first.id, at: start + .seconds(9))
    #expect(step(&rotator, start + .seconds(9)).jobs.count == 1)
  }

  @Test func aReloadDoesNotEndTheTriesOfAFailingSigner() throws {
    let signer = SimulatedSigner(1)
    var rotator = Rotator(signer: signer)
    let identities = [try Identity.sample(paths: ["/a"])]
    rotator.apply(identities, at: start)
    for job in step(&rotator, start).jobs { finish(&rotator, job, nil, at: start) }
    let held = try #require(rotator.takeChanged().first?.token).compact
    signer.isBroken = true
    let due = try #require(rotator.nextWake)
    #expect(step(&rotator, due).jobs.isEmpty)
    rotator.apply(identities, at: due)
    #expect(step(&rotator, due) { _ in .file(held, isAsConfigured: true) }.jobs.isEmpty)
    #expect(try #require(rotator.nextWake) < due + .seconds(4))
  }

  @Test func whoWaitsForAHangingJobOfAnEarlierConfigurationIsNotSilent() throws {
    var rotator = rotator([try Identity.sample(name: "a", paths: ["/x"])], at: start)
    let hanging = try #require(step(&rotator, start).jobs.first)
    rotator.noteHanging(hanging.id, at: start)
    rotator.apply([try Identity.sample(name: "b", paths: ["/x"])], at: start)
    _ = step(&rotator, start)
    #expect(rotator.unsettled == 0 && rotator.failing == 1, "the reload would never end")
  }

  @Test func whatIsLostIsMissingUntilItIsDeliveredAgain() throws {
    let identities = [try Identity.sample(paths: ["/a", "/b"])]
    var rotator = rotator(identities, at: start)
    for job in step(&rotator, start).jobs { finish(&rotator, job, nil, at: start) }
    rotator.apply(identities, at: start)
    let jobs = step(&rotator, start).jobs
    #expect(jobs.count == 2)
    #expect(rotator.state(of: "a", at: start) == .missing && rotator.unsettled == 1)
    for job in jobs { finish(&rotator, job, nil, at: start) }
    #expect(rotator.state(of: "a", at: start) == .fresh && rotator.unsettled == 0)
  }

  /// A delivered token, and what a look then finds in its place.
  private func delivered() throws -> (Rotator, Found) {
    var rotator = rotator([try Identity.sample(name: "a", paths: ["/a"])], at: start)
    let job = try #require(step(&rotator, start).jobs.first)
    finish(&rotator, job, nil, at: start)
    _ = orders(&rotator)
    guard case .write(let bytes) = job.deed else { throw Violation("no write") }
    return (rotator, .file(bytes, isAsConfigured: true))
  }

  @Test func aLookThatHungAndFoundAllWellIsForgotten() throws {
    var (rotator, found) = try delivered()
    rotator.noteChanges(at: [Path("/a")], now: start)
    let look = try #require(orders(&rotator).jobs.first)
    rotator.noteHanging(look.id, at: start)
    #expect(rotator.failing == 1)
    _ = orders(&rotator)
    var random = Seeded(9)
    rotator.finish(look.id, .found(found), at: start, random: &random)
    #expect(rotator.failing == 0)
    let events = orders(&rotator).events
    #expect(events.contains { if case .deliveryRecovered = $0 { true } else { false } })
  }

  @Test func whatHappensDuringALookIsLookedAtAfterIt() throws {
    var (rotator, found) = try delivered()
    rotator.noteChanges(at: [Path("/a")], now: start)
    let first = try #require(orders(&rotator).jobs.first)
    rotator.noteChanges(at: [Path("/a")], now: start)
    #expect(orders(&rotator).jobs.isEmpty)
    var random = Seeded(9)
    rotator.finish(first.id, .found(found), at: start, random: &random)
    let second = try #require(orders(&rotator).jobs.first)
    rotator.finish(second.id, .found(.nothing), at: start, random: &random)
    #expect(orders(&rotator).jobs.count == 1, "it is put back")
  }

  @Test func aFailingDeliveryIsNotTriedSoonerBecauseSomethingHappensThere() throws {
    var (rotator, _) = try delivered()
    var random = Seeded(9)
    rotator.noteChanges(at: [Path("/a")], now: start)
    let look = try #require(orders(&rotator).jobs.first)
    rotator.finish(look.id, .found(.nothing), at: start, random: &random)
    let write = try #require(orders(&rotator).jobs.first)
    finish(&rotator, write, Failure("no"), at: start)
    // Its own try may be what happened.
    rotator.noteChanges(at: [Path("/a")], now: start)
    let again = try #require(orders(&rotator).jobs.first)
    rotator.finish(again.id, .found(.nothing), at: start, random: &random)
    #expect(orders(&rotator).jobs.isEmpty)
    let next = try #require(rotator.nextWake)
    #expect(next > start + .milliseconds(800) && next < start + .seconds(2))
    #expect(step(&rotator, next).jobs.count == 1)
  }

  @Test func aThousandIdentitiesAreAllSeenTo() throws {
    let identities = try (0..<1_000).map { try Identity.sample(name: "i\($0)", paths: ["/\($0)"]) }
    var rotator = rotator(identities, at: start)
    for job in step(&rotator, start).jobs { finish(&rotator, job, nil, at: start) }
    _ = orders(&rotator)
    var now = start
    var rotated = 0
    while let next = rotator.nextWake, next < start + .seconds(82_800) {
      now = next
      for job in step(&rotator, now).jobs {
        rotated += 1
        finish(&rotator, job, nil, at: now)
      }
      _ = orders(&rotator)
    }
    #expect(rotated == 1_000)
    #expect(now > start + .seconds(82_800 - 900))
  }

  @Test func whatIsNotATokenIsNotReplaced() throws {
    let identities = [try Identity.sample(paths: ["/a", "/b"])]
    var rotator = rotator(identities, at: start)
    let foreign = Found.file(Array("root:x:0:0".utf8), isAsConfigured: true)
    let (jobs, events) = step(&rotator, start) { $0.path == Path("/a") ? foreign : .nothing }
    #expect(jobs.map(\.delivery.path.description) == ["/b"])
    #expect(rotator.failing == 1)
    #expect(events.contains { if case .deliveryFailed = $0 { true } else { false } })
    for job in jobs { finish(&rotator, job, nil, at: start) }
    // It is looked at again, and not removed with its identity.
    let next = try #require(rotator.nextWake)
    #expect(step(&rotator, next) { _ in foreign }.jobs.isEmpty)
    rotator.apply([], at: next)
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
    rotator.apply(before, at: start)
    #expect(step(&rotator, start) { _ in foreign }.jobs.count == 1)
    // For another identity, too.
    rotator.apply([try Identity.sample(name: "b", paths: ["/a"])], at: start)
  }

  @Test func aLookThatHangsHoldsUpNoOtherPlace() throws {
    var rotator = rotator([try Identity.sample(paths: ["/a", "/b"])], at: start)
    var random = Seeded(9)
    rotator.advance(to: start, random: &random)
    let looks = orders(&rotator).jobs
    #expect(looks.count == 2 && rotator.nextWake == nil)
    rotator.finish(looks[1].id, .found(.nothing), at: start, random: &random)
    #expect(step(&rotator, start).jobs.isEmpty, "the first token waits for the other look")
    rotator.noteHanging(looks[0].id, at: start + .seconds(2))
    let jobs = step(&rotator, start + .seconds(2)).jobs
    #expect(jobs.map(\.delivery.path.description) == ["/b"])
    finish(&rotator, jobs[0], nil, at: start + .seconds(2))
    rotator.finish(looks[0].id, .found(.nothing), at: start + .seconds(9), random: &random)
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

extension Job {
  fileprivate var isLook: Bool { if case .look = deed { true } else { false } }
}
