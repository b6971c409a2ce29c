@testable import Rotation

/// A host in one process: a clock that drifts, is set and sleeps; a signer and places that fail,
/// hang and come back; crashes, reloads, losses and changes of the key. It drives the rotator just
/// as the daemon does, and shows a witness all that happens. All times are microseconds of true
/// time.
struct SimulatedHost {
  private var random: Seeded
  private var clock = SimulatedClock()
  private var rotator: Rotator
  private var nextWake: Instant?
  private var lastRequest: RotationRequest.ID = 0
  private var keys = SimulatedKeys()
  private var identities: [Identity] = []
  /// How long lives and outages are on this host.
  private let scale: Scale

  /// What readers find.
  private var places: [Path: Held] = [:]
  /// The JWK Sets that verifiers find.
  private var sets: [Path: [UInt8]] = [:]
  private var jobs: [RunningJob] = []
  /// Until when places fail, places hang, and the signer fails.
  private var broken: [Path: Int64] = [:]
  private var hanging: [Path: Int64] = [:]
  private var signerBroken: Int64 = 0
  /// The signature that the device makes; until when it hangs; and until when it is not to be
  /// found, nil while it is there.
  private var signatures: [RunningSignature] = []
  private var deviceHangs: Int64 = 0
  private var deviceReturns: Int64?
  /// Until when there is something that is no token at a place, and the places that this run may
  /// write.
  private var foreign: [Path: Int64] = [:]
  private var claimed: Set<Path> = []

  /// The keys that tokens are believed of, and the last tokens of this run that readers may have.
  private var believed = Keys([])
  private var out: [Out] = []

  private struct Out {
    let token: Token
    let identity: String
    let keys: SimulatedKeys
  }

  private(set) var witness = Witness()
  private(set) var deliveries = 0
  private var log: [String] = []

  private struct RunningJob {
    let job: Job
    /// What readers find when it is done; nil for nothing.
    let content: Held?
    let keys: SimulatedKeys
    let begin: Int64
    /// Nil for one that hangs until its place is let go.
    let end: Int64?
    var isNoted = false

    var isLook: Bool { if case .look = job.operation { true } else { false } }
  }

  private struct RunningSignature {
    let job: SigningJob
    let begin: Int64
    let end: Int64
    /// Whether the device did not answer in time.
    let isLate: Bool
    var isNoted = false
  }

  /// How long a device may take.
  private static let deviceTime: Int64 = 10_000_000

  /// The lifetimes on a host, in seconds.
  enum Scale: CaseIterable {
    case seconds, hours, days, years

    var lifetimes: [Int64] {
      switch self {
      case .seconds: [2, 3, 5, 60]
      case .hours: [60, 900, 3_600, 43_200]
      case .days: [3_600, 86_400, 86_400, 604_800]
      case .years: [86_400 * 30, 31_557_600, 315_576_000]
      }
    }
  }

  init(seed: UInt64) {
    random = Seeded(seed)
    scale = Scale.allCases[Int(seed % 4)]
    rotator = Rotator(keys: keys.keys)
  }

  /// Lives for `steps` steps, unless that is of no use any more; throws the first violation.
  mutating func live(steps: Int, while isOfUse: () -> Bool) throws {
    clock.drift = Int64.random(in: -500...500, using: &random)
    identities = try makeIdentities()
    choosePublished()
    try restart(isFirst: true)
    for _ in 0..<steps where isOfUse() {
      try happen()
      try pass()
    }
  }

  /// True seconds that went by.
  var age: Int64 { (clock.time - SimulatedClock.birth) / 1_000_000 }
  /// The last things that happened, for whoever reads a failure.
  var story: String {
    log.suffix(25).joined(separator: "\n") + "\n\(now): here"
  }

  private mutating func note(_ text: String) {
    if log.count > 400 { log.removeFirst(200) }
    log.append("\(now): \(text)")
  }

  private var now: String { "\(Double(clock.time - SimulatedClock.birth) / 1e6) s" }
}

// MARK: - What happens

extension SimulatedHost {
  private mutating func happen() throws {
    switch Int.random(in: 0..<100, using: &random) {
    case 0..<3: try setClock()
    case 3..<5: try sleepOrStall()
    case 5..<9: breakPlace()
    case 9..<12: hangPlace()
    case 12..<14: breakSigner()
    case 14..<16: try changeKey()
    case 16..<20: try reload()
    case 20..<23: try restart(isFirst: false)
    case 23..<25: try loseFile()
    case 25..<29: try rotate()
    case 30..<33: moveForeign()
    case 33..<35: hangDevice()
    case 29..<30: clock.drift = Int64.random(in: -500...500, using: &random)
    default: break
    }
  }

  /// Up to a few seconds, or up to twice the shortest life around, but `most` seconds.
  private mutating func span(upTo most: Int64 = .max / 4_000_000) -> Int64 {
    let life = identities.map(\.lifetime.components.seconds).min() ?? 60
    let limit = random.chance(0.5) ? 5 : min(2 * life, most)
    return Int64.random(in: 0...limit * 1_000_000, using: &random)
  }

  private mutating func setClock() throws {
    let change = span() * (random.chance(0.5) ? 1 : -1)
    clock.set(by: change)
    note("the clock is set by \(Double(change) / 1e6) s")
    // What is being signed may end before it is.
    if !signatures.isEmpty { excuseDevice(until: clock.time + Witness.longestPause) }
    witness.forgetPaces()
    witness.excuseAll(until: clock.time + Witness.moment)
    // An outcome may wake the daemon before the timer tells of it.
    try step(random.chance(0.7) ? .clockSet(by: .microseconds(change)) : .woke)
  }

  /// Time passes and nothing runs. The kernel tells of a sleep; of a process that was stopped, or
  /// waited for its signer, nobody tells.
  private mutating func sleepOrStall() throws {
    let end = clock.time + span()
    clock.pass(to: end)
    let hasSlept = random.chance(0.7)
    note(hasSlept ? "resumed" : "stalled until now")
    witness.excuseStandstill(until: clock.time + Witness.moment)
    if !signatures.isEmpty {
      excuseDevice(until: clock.time + SimulatedHost.deviceTime + Witness.longestPause)
    }
    if hasSlept {
      witness.forgetPaces()
      try step(.clockSet(by: .zero))
    }
    try endJobs()
    try step(.woke)
  }

  private mutating func breakPlace() {
    guard let path = anyPath() else { return }
    broken[path] = clock.time + span(upTo: 172_800)
    note("\(path) is broken until \(broken[path]! - SimulatedClock.birth)")
  }

  private mutating func hangPlace() {
    guard let path = anyPath() else { return }
    hanging[path] = clock.time + span(upTo: 172_800)
    note("\(path) hangs until \(hanging[path]! - SimulatedClock.birth)")
  }

  private mutating func breakSigner() {
    signerBroken = clock.time + span(upTo: 172_800)
    note("the signer is broken until \(signerBroken - SimulatedClock.birth)")
    witness.excuseAll(until: signerBroken + Witness.longestPause)
  }

  private mutating func hangDevice() {
    deviceHangs = clock.time + span(upTo: 172_800)
    note("the device hangs until \(deviceHangs - SimulatedClock.birth)")
    excuseDevice(until: deviceHangs + SimulatedHost.deviceTime + Witness.longestPause)
  }

  private mutating func excuseDevice(until end: Int64) {
    witness.deviceExcuse = max(witness.deviceExcuse, end)
  }

  /// Those whose tokens are to be right now.
  private var expected: [Identity] {
    identities.filter { $0.key != SimulatedKeys.device || witness.deviceExcuse <= clock.time }
  }

  /// When jotd comes to ask for the device's key, it may not be to be found, for a while.
  private mutating func maybeLoseDevice() {
    guard random.chance(0.3) else { return }
    deviceReturns = clock.time + span(upTo: 172_800)
    keys.isDeviceAbsent = true
    note("there is no device until \(deviceReturns! - SimulatedClock.birth)")
    excuseDevice(until: deviceReturns! + Witness.longestPause)
  }

  /// The device is there again. What its key signed for an earlier run is kept.
  private mutating func findDevice() throws {
    note("the device is there")
    deviceReturns = nil
    keys.isDeviceAbsent = false
    let wereFresh = identities.filter {
      $0.key == SimulatedKeys.device && witness.board[$0.name]?.token == nil && holdsFresh($0)
        && $0.deliveries == $0.lasting && !$0.lasting.contains { isOutOfOrder($0.path) }
        && !$0.lasting.contains { path in jobs.contains { $0.job.delivery.path == path.path } }
    }
    let issued = wereFresh.map { places[$0.lasting[0].path]!.token.issuedAt }
    let canSign = signerBroken <= clock.time
    witness.forgetPaces()
    try step(.signerRead(key: SimulatedKeys.device, keys[SimulatedKeys.device]))
    try endLooks()
    for (identity, before) in zip(wereFresh, issued)
    where canSign && identity.due(sampleToken(identity, at: before)) > clock.now {
      guard witness.board[identity.name]?.token?.issuedAt == before else {
        throw Violation("\(identity.name) was minted anew when its device came")
      }
    }
  }

  /// Until what is looked at is known, and nothing hangs.
  private mutating func endLooks() throws {
    while let end = jobs.filter({ $0.isLook && $0.end != nil }).map({ endOf($0) }).min() {
      clock.pass(to: end)
      try endJobs()
    }
  }

  private mutating func changeKey() throws {
    let name = SimulatedKeys.names.randomElement(using: &random)!
    if name == SimulatedKeys.device, keys.isDeviceAbsent { return }
    keys.change(name)
    note("the key \(name) changes")
    witness.excuseAll(until: clock.time + Witness.moment)
    witness.forgetPaces()
    try step(.signerRead(key: name, keys[name]))
    try checkKey(name)
  }

  /// All tokens of the key of this name are of what signs now: at once, where that is not waited
  /// for.
  private func checkKey(_ name: String) throws {
    if signerBroken <= clock.time, name != SimulatedKeys.device { try witness.checkKey(name, keys) }
  }

  private mutating func reload() throws {
    let before = identities
    identities = try makeIdentities()
    note("reload: \(identities.map(\.name))")
    if random.chance(0.3) { choosePublished() }
    if random.chance(0.2) { maybeLoseDevice() }
    let newKeys = SimulatedKeys.names.filter { _ in random.chance(0.1) }
    for name in newKeys {
      keys.change(name)
      note("with a new key \(name)")
    }
    try configure(over: before)
    for name in newKeys { try checkKey(name) }
    let wanted = Set(
      identities.flatMap(\.deliveries).map(\.path) + keys.published.map(SimulatedKeys.path)
        + jobs.map(\.job.delivery.path))
    claimed.formIntersection(wanted)
    guard random.chance(0.2) else { return }
    // While looks are under way, one of which finds that its place is broken, or empty.
    if random.chance(0.3) {
      breakPlace()
    } else if let path = jobs.filter(\.isLook).randomElement(using: &random)?.job.delivery.path {
      note("\(path) is lost")
      places[path] = nil
      witness.lose(path, at: clock.time, isReloading: true)
      witness.excuse(path, until: clock.time + Witness.moment)
    }
    try reload()
  }

  private mutating func choosePublished() {
    let before = keys.published
    keys.published = Set(SimulatedKeys.names.filter { _ in random.chance(0.7) })
    for name in keys.published.subtracting(before) {
      witness.reported[SimulatedKeys.path(ofSet: name)] = nil
    }
    note("published are \(keys.published.sorted())")
  }

  /// The process dies, with jobs half done, and starts anew a moment later; or for the first time.
  private mutating func restart(isFirst: Bool) throws {
    note("restart")
    for running in jobs {
      if random.chance(0.5) { carryOut(running) }
      // What a crash leaves where nobody delivers any more is not known to the next run.
      witness.abandon(running.job.delivery.path)
    }
    jobs = []
    signatures = []
    claimed = []
    out = []
    maybeLoseDevice()
    let wereFresh = identities.filter {
      holdsFresh($0) && ($0.key != SimulatedKeys.device || !keys.isDeviceAbsent)
    }
    if !isFirst {
      let end = clock.time + Int64.random(in: 0...2_000_000, using: &random)
      clock.pass(to: end)
    }
    // A restart of a second or two breaks no promise of a life whose spread is longer.
    try witness.look(
      at: places, clock, keys,
      only: wereFresh.filter { $0.leastSpread > .seconds(2) && $0.deliveries == $0.lasting })
    if !isFirst, random.chance(0.2) {
      let step = span() * (random.chance(0.5) ? 1 : -1)
      clock.set(by: step)
      note("and the clock was set by \(Double(step) / 1e6) s meanwhile")
    }
    // Sockets end with their process.
    places = places.filter { !$0.key.description.hasPrefix("/socket") }
    rotator = Rotator(keys: keys.keys)
    let issued = wereFresh.map { places[$0.lasting[0].path]!.token.issuedAt }
    witness.restart(at: clock.time)
    let (began, canSign) = (clock.now, signerBroken <= clock.time)
    try step(.configured(identities, keys.keys))
    try endLooks()
    // And does not churn.
    for (identity, before) in zip(wereFresh, issued)
    where canSign && !identity.lasting.contains(where: { isOutOfOrder($0.path) }) {
      let due = identity.due(sampleToken(identity, at: before))
      guard
        due <= clock.now || before > began
          || witness.board[identity.name]?.token?.issuedAt == before
      else {
        throw Violation("\(identity.name) was minted anew by a restart")
      }
    }
  }

  private mutating func loseFile() throws {
    // What is lost while a job writes there comes back by itself.
    let paths = identities.flatMap(\.lasting).map(\.path) + keys.published.map(SimulatedKeys.path)
    guard let path = paths.sorted(by: { "\($0)" < "\($1)" }).randomElement(using: &random),
      !jobs.contains(where: { $0.job.delivery.path == path })
    else { return }
    places[path] = nil
    sets[path] = nil
    if random.chance(0.5) {
      note("\(path) is lost, which is noticed")
      // Or only that much happens in its folder.
      let others = identities.flatMap(\.deliveries).map(\.path).filter { _ in random.chance(0.3) }
      witness.lose(path, at: clock.time)
      witness.forgetPaces()
      try step(.touched(Set([path, Path("/stranger")] + others)))
    } else {
      note("\(path) is lost, reload")
      witness.lose(path, at: clock.time, isReloading: true)
      try configure(over: identities)
    }
  }

  /// A reload brings `identities` in place of `before`.
  private mutating func configure(over before: [Identity]) throws {
    keys.setBroken(signerBroken > clock.time)
    let turn = rotator.step(
      .configured(identities, keys.keys), at: clock.now, random: &random)
    guard let changes = turn.changes else { throw Violation("a reload changed nothing") }
    try witness.apply(identities, changes, over: before, at: clock.time)
    try take(turn)
  }

  private mutating func rotate() throws {
    let names = Set(identities.map(\.name).filter { _ in random.chance(0.5) })
    if random.chance(0.3) { hangPlace() }
    note("rotate \(names.sorted())")
    lastRequest += 1
    let request = RotationRequest(id: lastRequest, names: names)
    witness.ask(request, clock)
    // Until its places were looked at, an identity has no first token.
    let undecided = identities.filter {
      witness.board[$0.name]?.token == nil && !$0.lasting.isEmpty
    }
    try step(.requested(request))
    let elsewhere = identities.filter { $0.key == SimulatedKeys.device }
    try witness.checkAsked(names.subtracting((undecided + elsewhere).map(\.name)))
    // Much goes wrong while jobs are under way.
    switch Int.random(in: 0..<5, using: &random) {
    case 0: try reload()
    case 1: try restart(isFirst: false)
    case 2: try changeKey()
    default: break
    }
  }

  /// Somebody puts a file where this run has not written, for a while.
  private mutating func moveForeign() {
    let path = Path("/p\(Int.random(in: 0..<6, using: &random))")
    guard !claimed.contains(path) else { return }
    foreign[path] = clock.time + span(upTo: 172_800)
    note("\(path) is somebody else's until \(foreign[path]! - SimulatedClock.birth)")
    places[path] = nil
  }

  private func isForeign(_ path: Path) -> Bool { (foreign[path] ?? 0) > clock.time }

  private mutating func anyPath() -> Path? {
    let sets = keys.published.sorted().map(SimulatedKeys.path)
    return (identities.flatMap { $0.deliveries.map(\.path) } + sets).randomElement(using: &random)
  }

  private mutating func makeIdentities() throws -> [Identity] {
    // Names, lives and paths come from small sets, so that reloads keep, change and move things.
    var free = ((0..<6).map { "/p\($0)" } + ["/socket0", "/socket1"]).shuffled(using: &random)
    var made: [Identity] = []
    for number in 0..<Int.random(in: 0...5, using: &random) {
      let name = "i\(number)"
      if let kept = identities.first(where: { $0.name == name }), random.chance(0.5),
        kept.deliveries.allSatisfy({ free.contains($0.path.description) })
      {
        free.removeAll { path in kept.deliveries.contains { $0.path.description == path } }
        // Who may ask for its token is changed without touching that.
        made.append(random.chance(0.2) ? try kept.allowing(made.count) : kept)
        continue
      }
      let life = scale.lifetimes.randomElement(using: &random)!
      let count = min(free.count, Int.random(in: 0...2, using: &random))
      made.append(
        try Identity.sample(
          name: name, key: SimulatedKeys.names.randomElement(using: &random)!,
          bearer: random.chance(0.9)
            ? .user(ByteString("u"), .operator) : .subject(ByteString("v")),
          type: random.chance(0.1) ? "at+jwt" : nil, hasTokenID: random.chance(0.2),
          lifetime: .seconds(life),
          refreshBefore: .milliseconds(life * 1000 / [3, 4, 24].randomElement(using: &random)!),
          paths: Array(free.prefix(count))))
      free.removeFirst(count)
    }
    return made
  }
}

// MARK: - The daemon's part

extension SimulatedHost {
  private mutating func step(_ input: Input, isAlarm: Bool = false) throws {
    keys.setBroken(signerBroken > clock.time)
    try take(rotator.step(input, at: clock.now, random: &random), isAlarm: isAlarm)
  }

  /// `isAlarm` says that nothing but the timer woke the daemon.
  private mutating func take(_ turn: Turn, isAlarm: Bool = false) throws {
    nextWake = turn.nextWake
    if let keys = turn.keys { believed = keys }
    let hasActed = try witness.learn(turn.changed, clock)
    for action in turn.actions {
      switch action {
      case .run(let job): try begin(job)
      case .sign(let job): try begin(job)
      case .report(let event):
        if try witness.hear(event, places, identities, clock) { note("\(event)") }
      }
    }
    // Or for what waits behind another.
    if isAlarm, turn.actions.isEmpty, !hasActed, turn.publications == nil, signatures.isEmpty {
      throw Violation("woken for nothing")
    }
    if turn.isUnfinished {
      var rest = rotator.step(.woke, at: clock.now, random: &random)
      rest.answered = turn.answered + rest.answered
      return try take(rest)
    }
    guard identities.isEmpty || nextWake != nil || !jobs.isEmpty || !signatures.isEmpty else {
      throw Violation("nobody is going to be woken")
    }
    if let next = nextWake, next <= clock.now {
      throw Violation("awake again at once: \(next) is not after \(clock.now)")
    }
    // A signature that nobody wants any more is not waited for.
    guard (jobs.count...jobs.count + signatures.count).contains(turn.totals.jobs) else {
      throw Violation("\(turn.totals.jobs) jobs are counted, \(jobs.count) run")
    }
    try witness.compare(turn, identities, places, clock)
  }

  /// Lets time pass to the next thing that happens by itself, for a while.
  private mutating func pass() throws {
    let life = identities.map(\.lifetime.components.seconds).min() ?? 60
    let longest = 1_000_000 * (random.chance(0.1) ? 20 * life : max(2, life))
    let end = clock.time + Int64.random(in: 0...longest, using: &random)
    while true {
      let wake = nextWake.map { clock.moment(of: $0) } ?? .max
      let job = (jobs.map { endOf($0) } + signatures.map(\.end)).min() ?? .max
      let unnoted =
        jobs.filter { !$0.isNoted }.map(\.begin)
        + signatures.filter { !$0.isNoted }.map(\.begin)
      let patience = unnoted.min().map { $0 + Limits.stallTimeout.microseconds } ?? .max
      let next = min(wake, job, patience, deviceReturns ?? .max, end)
      // The timer is up to a millisecond late, as measured.
      let late = next == wake ? Int64.random(in: 0...1_000, using: &random) : 0
      clock.pass(to: next + late)
      // Readers see how it is before anything is done about it.
      excuse()
      try witness.look(at: places, clock, keys, only: expected)
      try checkBelief()
      try checkSets()
      try witness.checkRest(
        of: places, identities, jobs.map(\.job.delivery.path),
        looks: jobs.filter(\.isLook).map(\.job.delivery.path), clock.time)
      let hasEnded = try endJobs()
      let hasSigned = try endSignatures()
      let hasStalled = try noteStalled()
      if let moment = deviceReturns, moment <= clock.time {
        try findDevice()
        continue
      }
      if hasEnded || hasSigned || hasStalled { continue }
      if next == end { break }
      try step(.woke, isAlarm: true)
    }
  }

  /// What readers may have is believed until it ends, whatever became of its key since.
  private mutating func checkBelief() throws {
    guard signerBroken <= clock.time, let out = out.randomElement(using: &random),
      out.token.issuedAt <= clock.now, out.token.expiresAt > clock.now
    else { return }
    let changes = SimulatedKeys.names.map { keys.changes(of: $0, since: out.keys) }
    guard changes.max()! <= Limits.replacedSigners else { return }
    keys.setBroken(false)
    do throws(VerificationError) {
      _ = try Verifier(believed).verify(out.token.compact, at: clock.now)
    } catch { throw Violation("a token of \(out.identity) is not believed: \(error.detail)") }
  }

  /// Verifiers find what the tokens that are about are verified with, where it is wanted.
  private func checkSets() throws {
    let running = jobs.map(\.job.delivery.path)
    for name in SimulatedKeys.names {
      let path = SimulatedKeys.path(ofSet: name)
      guard !witness.isExcused(path, at: clock.time), !running.contains(path) else { continue }
      if name == SimulatedKeys.device, witness.deviceExcuse > clock.time { continue }
      guard keys.published.contains(name) else {
        guard sets[path] == nil || witness.abandoned.contains(path) else {
          throw Violation("\(path) was left behind")
        }
        continue
      }
      // The end of one that was replaced is noted a moment late.
      let moments = [clock.now, clock.now - .microseconds(Witness.moment)]
      guard let set = sets[path],
        moments.contains(where: { set == Array("\(believed.jwks(of: name, at: $0).text)\n".utf8) })
      else { throw Violation("\(path) does not hold the JWK Set of \(name)") }
    }
  }

  private func endOf(_ running: RunningJob) -> Int64 {
    running.end ?? hanging[running.job.delivery.path] ?? 0
  }

  private mutating func begin(_ job: Job) throws {
    let path = job.delivery.path
    guard !jobs.contains(where: { $0.job.delivery.path == path }) else {
      throw Violation("two jobs at \(path)")
    }
    var content: Held?
    let isWanted =
      identities.contains(where: { $0.deliveries.contains { $0.path == path } })
      || keys.published.contains { SimulatedKeys.path(ofSet: $0) == path }
    if case .remove = job.operation, isWanted {
      throw Violation("\(path) is removed, and wanted")
    }
    if case .look = job.operation {
    } else if path.isFile, !claimed.contains(path) {
      throw Violation("\(path) is touched before anybody looked at it")
    }
    if case .write = job.operation, job.subject.key == SimulatedKeys.device, keys.isDeviceAbsent {
      throw Violation("a JWK Set is written without its key")
    }
    if case .write(let bytes) = job.operation, let name = job.subject.identity {
      guard let owner = identities.first(where: { $0.name == name }),
        let held = Held(bytes, signedBy: keys.working(owner.key))
      else { throw Violation("a token that the current key did not sign goes to \(path)") }
      content = held
      try witness.begin(held, path, of: identities, clock)
    }
    let hangs = hanging[path].map { $0 > clock.time } ?? false
    let end = hangs ? nil : clock.time + Int64.random(in: 50...5_000, using: &random)
    jobs.append(
      RunningJob(job: job, content: content, keys: keys, begin: clock.time, end: end))
  }

  /// Says whether a job has ended.
  @discardableResult
  private mutating func endJobs() throws -> Bool {
    let ended = jobs.filter { endOf($0) <= clock.time }
    if ended.isEmpty { return false }
    jobs = jobs.filter { endOf($0) > clock.time }
    var outcomes: [(job: Job.ID, outcome: Outcome)] = []
    for running in ended {
      let path = running.job.delivery.path
      if running.end == nil { witness.excuse(path, until: clock.time + Witness.moment) }
      var outcome = Outcome.done
      if running.isLook {
        witness.find(path)
        outcome = .found(look(at: path))
      } else if let end = broken[path], end > clock.time {
        outcome = .failed(Failure("\(path) is broken"))
        witness.fail(running.job, until: end, clock, identities)
      } else {
        witness.succeed(running.job)
        carryOut(running)
      }
      outcomes.append((running.job.id, outcome))
    }
    try step(.ended(outcomes))
    return true
  }

  private mutating func begin(_ job: SigningJob) throws {
    guard job.key == SimulatedKeys.device else { throw Violation("\(job.key) signs here") }
    guard job.signer.keyID == keys[job.key].keyID, !keys.isDeviceAbsent else {
      throw Violation("a former key is to sign")
    }
    let begin = clock.time
    let answer = max(begin, deviceHangs) + Int64.random(in: 50...1_000, using: &random)
    let isLate = answer - begin > SimulatedHost.deviceTime
    signatures.append(
      RunningSignature(
        job: job, begin: begin, end: isLate ? begin + SimulatedHost.deviceTime : answer,
        isLate: isLate))
  }

  /// Says whether the device has answered.
  private mutating func endSignatures() throws -> Bool {
    let ended = signatures.filter { $0.end <= clock.time }
    if ended.isEmpty { return false }
    signatures.removeAll { $0.end <= clock.time }
    keys.setBroken(signerBroken > clock.time)
    var outcomes: [(job: Job.ID, outcome: Outcome)] = []
    for signature in ended {
      var bytes: [UInt8] = []
      var outcome = Outcome.failed(Failure("the device takes too long"))
      if !signature.isLate {
        do throws(Failure) {
          try signature.job.signer.sign(signature.job.message, into: &bytes)
          outcome = .signed(bytes)
        } catch { outcome = .failed(error) }
      }
      outcomes.append((signature.job.id, outcome))
    }
    try step(.ended(outcomes))
    return true
  }

  private mutating func noteStalled() throws -> Bool {
    var stalled: [Job.ID] = []
    for index in signatures.indices
    where !signatures[index].isNoted
      && clock.time - signatures[index].begin >= Limits.stallTimeout.microseconds
    {
      signatures[index].isNoted = true
      stalled.append(signatures[index].job.id)
      note("the device is noted as stalled")
    }
    for index in jobs.indices
    where !jobs[index].isNoted && clock.time - jobs[index].begin >= Limits.stallTimeout.microseconds
    {
      jobs[index].isNoted = true
      stalled.append(jobs[index].job.id)
      note("\(jobs[index].job.delivery.path) is noted as stalled")
    }
    if !stalled.isEmpty { try step(.stalled(stalled)) }
    return !stalled.isEmpty
  }

  private mutating func excuse() {
    for (path, end) in hanging where end >= clock.time {
      witness.excuse(path, until: end + Witness.moment)
    }
    for (path, end) in foreign where end >= clock.time {
      witness.excuse(path, until: end + Witness.longestPause)
    }
    // Without a first token, because one place hangs, the others have none either.
    for identity in identities where witness.board[identity.name]?.token == nil {
      for end in identity.lasting.compactMap({ hanging[$0.path] }) where end >= clock.time {
        let noted = min(end, witness.unsettledSince + Witness.patience)
        for delivery in identity.deliveries {
          witness.excuse(delivery.path, until: noted + Witness.moment)
        }
      }
    }
  }

  /// What a look finds; in a folder that cannot be opened, nothing.
  private mutating func look(at path: Path) -> Found {
    if let end = broken[path], end > clock.time {
      witness.excuse(path, until: end + Witness.longestPause)
      if !isForeign(path) { claimed.insert(path) }
      return isForeign(path) ? .unreadable(Failure("\(path) is broken")) : .nothing
    }
    if let set = sets[path] {
      claimed.insert(path)
      return .file(set, isAsConfigured: true)
    }
    guard !isForeign(path) else {
      if !claimed.contains(path) { witness.spare(path, identities, at: clock.time) }
      return random.chance(0.5) ? .file(Array("something".utf8), isAsConfigured: true) : .tooLarge
    }
    claimed.insert(path)
    return places[path].map { .file($0.bytes, isAsConfigured: true) } ?? .nothing
  }

  private mutating func carryOut(_ running: RunningJob) {
    if running.isLook { return }
    if running.job.subject.key != nil {
      sets[running.job.delivery.path] =
        if case .write(let set) = running.job.operation { set } else { nil }
      return
    }
    places[running.job.delivery.path] = running.content
    guard let held = running.content, let identity = running.job.subject.identity else { return }
    deliveries += 1
    out.append(Out(token: held.token, identity: identity, keys: running.keys))
    if out.count > 32 { out.removeFirst() }
  }

  private func isOutOfOrder(_ path: Path) -> Bool {
    (broken[path] ?? 0) > clock.time || (hanging[path] ?? 0) > clock.time
  }

  /// Whether every delivery of `identity` holds one fresh token that is as it would be minted.
  private func holdsFresh(_ identity: Identity) -> Bool {
    guard let first = identity.lasting.first, let held = places[first.path],
      let compact = try? CompactToken(parsing: held.bytes)
    else { return false }
    let signer = keys.working(identity.key)
    let payload = identity.template.payload(
      TokenTemplate.Stamp(
        issuedAt: held.token.issuedAt, expiresAt: held.token.issuedAt + identity.lifetime,
        id: identity.template.id(in: compact.claims)))
    return compact.payload == payload
      && held.bytes.starts(with: identity.template.header(signer.algorithm, kid: signer.kid))
      && (try? signer.verifies(compact.signature, of: compact.signingInput)) == true
      && held.token.issuedAt <= clock.now
      && held.token.expiresAt - clock.now > identity.refreshBefore
      && identity.lasting.allSatisfy { places[$0.path]?.bytes == held.bytes }
  }
}

extension Path {
  var isFile: Bool { !description.hasPrefix("/socket") }
}

extension Identity {
  /// The same for other callers.
  func allowing(_ user: Int) throws -> Identity {
    try .sample(
      name: name, key: key, bearer: bearer, type: template.type, hasTokenID: template.hasID,
      lifetime: lifetime, refreshBefore: refreshBefore,
      paths: deliveries.map(\.path.description), access: [.user(UInt32(user))])
  }

  /// The deliveries that outlive the process.
  var lasting: [Delivery] { deliveries.filter(\.isLasting) }
}
