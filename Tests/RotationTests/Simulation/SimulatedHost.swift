@testable import Rotation

/// What an invariant found. Thrown with the seed by the test that ran the simulation.
struct Violation: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}

/// A host in one process: a wall clock that drifts, is set and sleeps; a signer and places that
/// fail, hang and come back; crashes, reloads and changes of the key. It drives the rotator just
/// as the daemon does, and checks after every step what jotd promises.
struct SimulatedHost {
  private var random: Seeded
  private var rotator: Rotator
  private var signer: SimulatedSigner
  private var keys = 0

  /// True time in microseconds, and what the wall clock is ahead of it.
  private var time: Int64 = 1_700_000_000_000_000
  private var offset: Int64 = 0
  private var identities: [Identity] = []

  /// What readers find at each path, and what it says.
  private var places: [Path: Held] = [:]

  private struct Held {
    let bytes: [UInt8]
    let userID: String
    let issuedAt: Int64
    let expiresAt: Int64
    let key: Int
  }
  /// When a job ends, by true time; nil for one that hangs until it is let go.
  private var jobs: [(job: Job, end: Int64?)] = []
  /// Paths that fail until a moment of true time.
  private var broken: [Path: Int64] = [:]
  /// Paths where jobs hang until a moment of true time.
  private var hanging: [Path: Int64] = [:]
  private var signerBroken: Int64 = 0

  // What the invariants remember.
  /// Until when, by true time, an identity has an excuse: something of its own fails, or just did.
  private var excuses: [String: Int64] = [:]
  private var pathExcuses: [Path: Int64] = [:]
  /// The last failed try at a path, and when something last made all pauses end.
  private var failedTry: [Path: (bytes: [UInt8], time: Int64)] = [:]
  private var disturbed: Int64 = 0
  private(set) var rotations = 0
  private(set) var events = 0
  private(set) var wakes = 0
  private var log: [String] = []

  init(seed: UInt64) {
    random = Seeded(seed)
    signer = SimulatedSigner(0)
    rotator = Rotator(signer: signer)
  }

  /// Lives for `steps` steps; throws the first violation.
  mutating func live(steps: Int) throws {
    identities = try makeIdentities()
    try restart(clean: true)
    for _ in 0..<steps {
      try happen()
      try pass()
    }
  }

  /// True microseconds that went by.
  var age: Int64 { time - 1_700_000_000_000_000 }
  /// The last things that happened, for whoever reads a failure.
  var story: String { log.suffix(20).joined(separator: "\n") }

  private var now: Instant { Instant(microseconds: time + offset) }

  private mutating func note(_ text: @autoclosure () -> String) {
    if log.count > 400 { log.removeFirst(200) }
    log.append("\(Double(age) / 1e6) s: \(text())")
  }
}

// MARK: - What happens

extension SimulatedHost {
  private mutating func happen() throws {
    switch Int.random(in: 0..<100, using: &random) {
    case 0..<3: try setClock()
    case 3..<5: try suspend()
    case 5..<9: breakPlace()
    case 9..<11: hangPlace()
    case 11..<13: breakSigner()
    case 13..<15: changeKey()
    case 15..<18: try reload()
    case 18..<21: try restart(clean: false)
    case 21..<22: try loseFiles()
    default: break
    }
  }

  private mutating func setClock() throws {
    let span: Int64 = random.chance(0.5) ? 5_000_000 : 200_000_000_000
    let step = Int64.random(in: -span...span, using: &random)
    offset += step
    note("the clock is set by \(Double(step) / 1e6) s")
    rotator.clockWasSet(by: .microseconds(step), to: now)
    excuseAll(for: 2_000_000)
    try turn()
  }

  /// Time passes and nothing runs; the kernel tells on resume.
  private mutating func suspend() throws {
    time += Int64.random(in: 0...100_000_000_000, using: &random)
    note("resumed")
    rotator.clockWasSet(by: .zero, to: now)
    excuseAll(for: 2_000_000)
    try turn()
  }

  private mutating func breakPlace() {
    guard let path = anyPath() else { return }
    broken[path] = time + Int64.random(in: 0...300_000_000, using: &random)
    note("\(path) breaks")
  }

  private mutating func hangPlace() {
    guard let path = anyPath() else { return }
    hanging[path] = time + Int64.random(in: 0...300_000_000, using: &random)
    note("\(path) hangs")
  }

  private mutating func breakSigner() {
    signerBroken = time + Int64.random(in: 0...200_000_000, using: &random)
    note("the signer breaks")
  }

  private mutating func changeKey() {
    keys += 1
    signer = SimulatedSigner(keys)
    note("the key changes")
    disturbed = time
    applySigner()
    excuseAll(for: 2_000_000)
  }

  private mutating func reload() throws {
    identities = try makeIdentities()
    note("reload")
    rotator.apply(identities, at: now)
    excuseAll(for: 2_000_000)
    takeStock()
    try turn()
  }

  /// The process dies, with jobs half done, and starts anew; or starts for the first time.
  private mutating func restart(clean: Bool) throws {
    note("restart")
    for (job, _) in jobs {
      if random.chance(0.5) { carryOut(job) }
      // What a crash leaves where nobody delivers any more is not known to the next run.
      abandon(job.delivery.path)
    }
    jobs = []
    applySigner()
    let kept = clean ? [] : identities.filter { holdsFresh($0) }
    rotator = Rotator(signer: signer)
    rotator.apply(identities, at: now)
    takeStock()
    if !clean { time += Int64.random(in: 0...2_000_000, using: &random) }
    excuseAll(for: 2_000_000)
    let issued = kept.map { places[$0.deliveries[0].path]!.issuedAt }
    try turn()
    // A restart does not churn.
    for (identity, before) in zip(kept, issued) where signerBroken <= time {
      guard identity.due(sampleToken(identity, at: Instant(seconds: before))) > now else {
        continue
      }
      guard places[identity.deliveries[0].path]?.issuedAt == before else {
        throw Violation("\(identity.name) was minted anew by a restart")
      }
    }
  }

  private mutating func loseFiles() throws {
    guard let path = anyPath() else { return }
    places[path] = nil
    note("\(path) is lost, reload")
    rotator.apply(identities, at: now)
    excuseAll(for: 2_000_000)
    takeStock()
    try turn()
  }

  private mutating func anyPath() -> Path? {
    identities.flatMap { $0.deliveries.map(\.path) }.randomElement(using: &random)
  }

  private mutating func makeIdentities() throws -> [Identity] {
    // Names, lives and paths come from small sets, so that reloads keep, change and move things.
    var free = (0..<8).map { "/p\($0)" }.shuffled(using: &random)
    return try (0..<Int.random(in: 0...5, using: &random)).map { number in
      let life = [2, 3, 5, 60, 3_600, 86_400].randomElement(using: &random)!
      let count = min(free.count, Int.random(in: 0...2, using: &random))
      defer { free.removeFirst(count) }
      return try Identity.sample(
        name: "i\(number)", userID: random.chance(0.9) ? "u" : "v", lifetime: .seconds(life),
        refreshBefore: .milliseconds(life * 1000 / [3, 4, 24].randomElement(using: &random)!),
        paths: Array(free.prefix(count)))
    }
  }
}

// MARK: - The daemon's part

extension SimulatedHost {
  private mutating func applySigner() {
    signer.isBroken = signerBroken > time
    rotator.use(signer, at: now)
  }

  private mutating func takeStock() {
    let held = places
    rotator.takeStock(at: now) { held[$0.path]?.bytes }
  }

  private mutating func turn() throws {
    wakes += 1
    applySigner()
    rotator.advance(to: now, random: &random)
    for order in rotator.takeOrders() {
      switch order {
      case .run(let job): try begin(job)
      case .report(let event): try hear(event)
      }
    }
    guard identities.isEmpty || rotator.nextWake != nil else {
      throw Violation("nobody is going to be woken")
    }
    if let next = rotator.nextWake, next <= now {
      throw Violation("awake again at once: \(next) is not after \(now)")
    }
  }

  /// Lets time pass to the next thing that happens by itself, or for a while.
  private mutating func pass() throws {
    let end =
      time + Int64.random(in: 0...(random.chance(0.1) ? 600_000_000 : 20_000_000), using: &random)
    while true {
      let wake = rotator.nextWake.map { max(time, $0.microseconds - offset) } ?? .max
      let job = jobs.compactMap { endOf($0) }.min() ?? .max
      let next = min(wake, job, end)
      time = max(time, next)
      // The timer is up to a millisecond late, as measured.
      if next == wake { time += Int64.random(in: 0...1_000, using: &random) }
      try endJobs()
      if next == end, wake > end, job > end { break }
      try turn()
      try checkFreshness()
    }
  }

  private func endOf(_ entry: (job: Job, end: Int64?)) -> Int64? {
    entry.end ?? hanging[entry.job.delivery.path]
  }

  private mutating func begin(_ job: Job) throws {
    let path = job.delivery.path
    guard !jobs.contains(where: { $0.job.delivery.path == path }) else {
      throw Violation("two jobs at \(path)")
    }
    if case .write(let bytes) = job.deed {
      guard let token = try? CompactToken(parsing: bytes),
        try SimulatedSigner(keys).verifies(token.signature, of: token.signingInput)
      else { throw Violation("a token that the current key did not sign goes to \(path)") }
      try checkPace(path, bytes)
    }
    let hangs = hanging[path].map { $0 > time } ?? false
    jobs.append((job, hangs ? nil : time + Int64.random(in: 50...5_000, using: &random)))
  }

  private mutating func endJobs() throws {
    let ended = jobs.filter { endOf($0)! <= time }
    jobs = jobs.filter { endOf($0)! > time }
    for (job, end) in ended {
      let path = job.delivery.path
      let isBroken = broken[path].map { $0 > time } ?? false
      if end == nil { excuse(path, for: 2_000_000) }
      if isBroken {
        switch job.deed {
        case .write(let bytes): failedTry[path] = (bytes, time)
        // Reported, and left to the operator.
        case .remove: abandon(path)
        }
        excuse(path, until: max(time, broken[path]!) + 70_000_000)
      } else {
        failedTry[path] = nil
        carryOut(job)
      }
      rotator.finish(
        job.id, isBroken ? Failure("\(path) is broken") : nil, at: now, random: &random)
    }
  }

  private mutating func carryOut(_ job: Job) {
    switch job.deed {
    case .write(let bytes):
      rotations += 1
      if pathExcuses[job.delivery.path] == .max { pathExcuses[job.delivery.path] = nil }
      places[job.delivery.path] = held(bytes)
    case .remove: places[job.delivery.path] = nil
    }
  }
}

// MARK: - What must hold

extension SimulatedHost {
  private func held(_ bytes: [UInt8]) -> Held? {
    guard let claims = try? CompactToken(parsing: bytes).claims,
      case .string(let userID)? = claims["user_id"], case .number(let issued)? = claims["iat"],
      case .number(let expires)? = claims["exp"]
    else { return nil }
    return Held(
      bytes: bytes, userID: userID, issuedAt: Int64(issued)!, expiresAt: Int64(expires)!, key: keys)
  }

  /// Whether every delivery of `identity` holds one fresh token that is as it would be minted.
  private func holdsFresh(_ identity: Identity) -> Bool {
    guard let first = identity.deliveries.first, let held = places[first.path] else { return false }
    var minter = Minter()
    let again = try? minter.mint(
      identity.claims, lifetime: identity.lifetime, at: Instant(seconds: held.issuedAt),
      signer: SimulatedSigner(keys))
    return again?.compact == held.bytes && Instant(seconds: held.issuedAt) <= now
      && Instant(seconds: held.expiresAt) - now > identity.refreshBefore
      && identity.deliveries.allSatisfy { places[$0.path]?.bytes == held.bytes }
  }

  /// Freshness, no future `iat`, the right identity, and no path of nobody's. Excused while
  /// something of the identity's own fails, or has just stopped to.
  private mutating func checkFreshness() throws {
    for path in hanging.keys where hanging[path]! > time {
      excuse(path, until: hanging[path]! + 10_000_000)
    }
    if signerBroken > time { excuseAll(for: signerBroken - time + 70_000_000) }
    for identity in identities where excuses[identity.name, default: 0] <= time {
      for delivery in identity.deliveries {
        guard let held = places[delivery.path] else {
          throw Violation("\(delivery.path) of \(identity.name) holds no token")
        }
        guard held.issuedAt <= now.wholeSeconds else {
          throw Violation("\(delivery.path) holds a token of the future")
        }
        let left = Instant(seconds: held.expiresAt) - now
        guard left > identity.refreshBefore else {
          throw Violation("\(delivery.path) of \(identity.name) is stale: \(left) left")
        }
        guard held.userID == identity.userID, held.key == keys,
          held.expiresAt - held.issuedAt == identity.lifetime.components.seconds
        else { throw Violation("\(delivery.path) holds another token than \(identity.name)'s") }
      }
    }
    let wanted = Set(identities.flatMap { $0.deliveries.map(\.path) })
    for path in places.keys
    where !wanted.contains(path) && excuseOf(path) <= time
      && !jobs.contains(where: { $0.job.delivery.path == path })
    {
      throw Violation("\(path) was left behind")
    }
  }

  /// The same token is not tried again at a failing path in a hurry.
  private func checkPace(_ path: Path, _ bytes: [UInt8]) throws {
    guard let failed = failedTry[path], failed.bytes == bytes, disturbed < failed.time else {
      return
    }
    guard time - failed.time >= 890_000 else {
      throw Violation("\(path) was tried again after \(time - failed.time) µs")
    }
  }

  private mutating func hear(_ event: Event) throws {
    events += 1
    if case .rotated = event {} else { note("\(event)") }
    guard !"\(event)".contains("eyJ") else { throw Violation("an event holds token bytes") }
  }

  private mutating func excuseAll(for span: Int64) {
    if signerBroken <= time { disturbed = time }
    for identity in identities { excuse(identity.name, until: time + span) }
    for path in places.keys { pathExcuses[path] = max(pathExcuses[path] ?? 0, time + span) }
  }
  private mutating func abandon(_ path: Path) { pathExcuses[path] = .max }
  private mutating func excuse(_ path: Path, for span: Int64) { excuse(path, until: time + span) }
  private mutating func excuse(_ path: Path, until end: Int64) {
    pathExcuses[path] = max(pathExcuses[path] ?? 0, end)
    for identity in identities where identity.deliveries.contains(where: { $0.path == path }) {
      excuse(identity.name, until: end)
    }
  }
  private mutating func excuse(_ name: String, until end: Int64) {
    excuses[name] = max(excuses[name] ?? 0, end)
  }
  private func excuseOf(_ path: Path) -> Int64 { pathExcuses[path] ?? 0 }
}
