@testable import Rotation

/// A ring of keys on a host in one process: a disk that fails and is cut off, a clock that is set,
/// boots, crashes, a lost state file; places where the set comes late; and verifiers who keep what
/// they fetched for as long as `publish_ahead` allows. Whoever has a token must be let in. All
/// times are microseconds of true time.
struct SimulatedRing {
  private struct Out {
    let kid: String
    let issued: Int64
    let iat: Int64
    let exp: Int64
  }

  private struct Verifier {
    var cache: Set<String> = []
    var fetched: Int64 = .min / 4
  }

  private var random: Seeded
  private var clock = SimulatedClock()
  private var booted = SimulatedClock.birth
  private var boots = 0
  private var ring: KeyRing?
  private var policy: KeyRing.Policy
  private let life: Int64
  private var made = 0

  // The disk.
  private var state: [UInt8]?
  private var files: [Int: (kid: String, algorithm: Algorithm)] = [:]
  private var broken: Int64 = 0

  // What runs.
  private var work: (work: KeyRing.Work, end: Int64)?
  private var publishing: Int64?
  private var nextWake: Instant?
  private var lastWish: KeyRing.Wish.ID = 0

  private var place: Set<String> = []
  private var verifiers = [Verifier](repeating: Verifier(), count: 4)
  private var out: [Out] = []
  /// Tokens of these may be refused: an operator wanted that.
  private var excused: Set<String> = []
  private var isNextExcused = false
  /// When the state was lost last, and with it what the clock said before.
  private var lost: Int64 = 0

  private(set) var rotations = 0
  private(set) var log: [String] = []

  init(seed: UInt64) {
    random = Seeded(seed)
    let every: Int64 = [60, 3_600, 86_400, 7_776_000].randomElement(using: &random)!
    let ahead = every / [3, 4, 10].randomElement(using: &random)!
    life = every / [1, 2, 6].randomElement(using: &random)!
    policy = KeyRing.Policy(
      algorithm: .ed25519, rotateEvery: .seconds(every), publishAhead: .seconds(ahead),
      longestLife: .seconds(life))
  }

  private var ahead: Int64 { policy.publishAhead.microseconds }
  private var every: Int64 { policy.rotateEvery!.microseconds }

  private var moment: KeyRing.Moment {
    KeyRing.Moment(wall: clock.now, sinceBoot: .microseconds(clock.time - booted))
  }

  private mutating func note(_ text: String) {
    if log.count > 200 { log.removeFirst(100) }
    log.append("\(Double(clock.time - SimulatedClock.birth) / 1e6) s: \(text)")
  }

  mutating func live(steps: Int) throws {
    clock.drift = Int64.random(in: -500...500, using: &random)
    try start()
    for _ in 0..<steps {
      try happen()
      try pass(every / 8)
    }
    // Left alone, it goes on by itself.
    try crash()
    let before = rotations
    try pass(4 * every)
    guard rotations >= before + 2 else {
      throw Violation("\(rotations - before) rotations in four")
    }
    while work != nil { try pass(1_000_000) }
    guard let ring, ring.failure == nil, ring.overdue! > clock.now else {
      throw Violation("it is not well in the end: \(ring?.failure?.description ?? "overdue")")
    }
    let wanted = Set(ring.members.filter { $0.state != .retired }.map(\.number))
    guard Set(files.keys) == wanted else { throw Violation("files are left, or lack") }
  }

  // MARK: What happens

  private mutating func happen() throws {
    switch Int.random(in: 0..<40, using: &random) {
    case 0..<3: try crash()
    case 3: try reboot()
    case 4..<6: try setClock()
    case 6:
      // A crash with it, or nobody would read it.
      note("the state file is lost")
      lost = clock.time
      state = random.chance(0.8) ? nil : Array("garbage".utf8)
      try crash()
    case 7..<9:
      broken = clock.time + Int64.random(in: 0...min(every / 2, 7_200_000_000), using: &random)
      note("the disk is broken until \(broken - SimulatedClock.birth)")
    case 9..<11: try wish()
    case 11: try change()
    default: break
    }
  }

  private mutating func setClock() throws {
    let step = Int64.random(in: 0...3 * every, using: &random) * (random.chance(0.5) ? 1 : -1)
    clock.set(by: step)
    note("the clock is set by \(Double(step) / 1e6) s")
    try self.step(.clockSet(by: .microseconds(step)))
  }

  private mutating func crash() throws {
    note("crash")
    if let work, random.chance(0.5) { _ = carryOut(work.work) }
    work = nil
    if publishing != nil, random.chance(0.5) { place = served }
    publishing = nil
    ring = nil
    let isBroken = broken > clock.time
    clock.pass(to: clock.time + Int64.random(in: 0...5_000_000, using: &random))
    // The disk may have been broken, and then nobody knows well what it said before.
    if random.chance(0.1) {
      try setClock()
      if isBroken { lost = clock.time }
    }
    try start()
  }

  private mutating func reboot() throws {
    note("reboot")
    boots += 1
    work = nil
    publishing = nil
    ring = nil
    // The places are in memory, and those who fetch wait.
    let off = Int64.random(in: 0...every, using: &random)
    clock.pass(to: clock.time + off)
    if random.chance(0.3) {
      clock.set(by: -off)
      if broken > clock.time - off { lost = clock.time }
    }
    booted = clock.time - Int64.random(in: 0...off, using: &random)
    try start()
  }

  private mutating func start() throws {
    let saved = state.flatMap { try? KeyRing.Saved(parsing: $0) }
    let found = files.sorted { $0.key < $1.key }.map { number, file in
      KeyRing.File(
        kid: file.kid, algorithm: file.algorithm, publicKey: SimulatedRing.key(file.kid),
        number: number)
    }
    ring = KeyRing(
      saved, files: found, lastNumber: files.keys.max() ?? 0, policy, bootID: "boot \(boots)",
      at: moment)
    // The daemon does not start without a key.
    broken = 0
    try step(.woke)
    var tries = 0
    while !ring!.canSign {
      tries += 1
      guard tries < 100 else { throw Violation("a start does not end") }
      guard let running = work else { throw Violation("a start does not come to a key") }
      clock.pass(to: running.end)
      try endWork()
    }
    publish()
  }

  private mutating func change() throws {
    guard ring != nil else { return }
    policy = KeyRing.Policy(
      algorithm: policy.algorithm == .edDSA ? .ed25519 : .edDSA, rotateEvery: policy.rotateEvery,
      publishAhead: policy.publishAhead, longestLife: policy.longestLife)
    note("the algorithm is \(policy.algorithm)")
    try step(.configured(policy))
  }

  private mutating func wish() throws {
    guard let ring, let member = ring.members.randomElement(using: &random) else { return }
    let wish: KeyRing.Wish
    switch Int.random(in: 0..<8, using: &random) {
    case 0..<3: wish = .add
    case 3..<5: wish = .activate(member.kid, atOnce: false)
    case 5: wish = .retire(member.kid)
    case 6:
      wish = .activate(member.kid, atOnce: true)
      excused.insert(member.kid)
    default:
      wish = .revoke(member.kid)
      // What signs next may be unknown to verifiers, too.
      excused.formUnion(ring.members.map(\.kid))
      isNextExcused = true
    }
    lastWish += 1
    note("\(wish) is wished for")
    try step(.asked(wish, lastWish))
  }

  // MARK: The daemon's part

  private mutating func step(_ input: KeyRing.Input) throws {
    guard ring != nil else { return }
    let turn = ring!.step(input, at: moment)
    nextWake = turn.nextWake
    for member in turn.changed { note("\(member.kid) is \(member.state)") }
    if let failure = turn.failure { note("\(failure)") }
    if let active = turn.changed.first(where: { $0.state == .active }) {
      rotations += 1
      if isNextExcused { excused.insert(active.kid) }
      isNextExcused = false
    }
    for member in turn.changed
    where member.state == .retired && !member.isRevoked && !excused.contains(member.kid)
      && out.contains(where: {
        $0.kid == member.kid && $0.issued > lost && $0.iat <= clock.wall && clock.wall < $0.exp
      })
    {
      throw Violation("\(member.kid) goes while a token of it is about: is refused by who knows it")
    }
    guard ring!.members.count(where: { $0.state == .active }) <= 1 else {
      throw Violation("two are active")
    }
    if turn.hasNewSet { publish() }
    if let work = turn.work {
      guard self.work == nil else { throw Violation("two pieces of work at once") }
      if case .save = work {} else { note("\(work)") }
      self.work = (work, clock.time + Int64.random(in: 100...200_000, using: &random))
    } else if let wake = turn.nextWake, wake <= clock.now, self.work == nil {
      throw Violation("awake again at once")
    }
  }

  private var served: Set<String> {
    guard let ring else { return [] }
    return Set(([ring.active].compactMap(\.self) + ring.others).map(\.kid))
  }

  private mutating func publish() {
    publishing = clock.time + Int64.random(in: 0...every / 20, using: &random)
  }

  private mutating func endWork() throws {
    guard let (done, _) = work else { return }
    work = nil
    guard broken <= clock.time else {
      // What failed may be there all the same.
      if random.chance(0.3) { _ = carryOut(done) }
      return try step(.failed(Failure("the disk is broken")))
    }
    try step(carryOut(done))
  }

  private mutating func carryOut(_ work: KeyRing.Work) -> KeyRing.Input {
    switch work {
    case .make(let algorithm, let number):
      made += 1
      files[number] = ("key\(made)", algorithm)
      return .made(kid: "key\(made)", SimulatedRing.key("key\(made)"))
    case .load: return .done
    case .save(let text):
      state = text
      return .done
    case .remove(let number):
      files[number] = nil
      return .done
    }
  }

  private static func key(_ kid: String) -> PublicKey {
    // Two algorithms of one kind would do; these tests do not verify.
    .ed25519(Array(kid.utf8) + [UInt8](repeating: 1, count: 32 - kid.utf8.count))
  }

  // MARK: Time

  private mutating func pass(_ span: Int64) throws {
    let end = clock.time + span
    var beats = 0
    while clock.time < end {
      beats += 1
      guard beats < 100_000 else { throw Violation("it does not rest") }
      let wake = nextWake.map { clock.moment(of: $0) } ?? .max
      let beat = clock.time + Int64.random(in: 1...max(1, every / 16), using: &random)
      let next = min(work?.end ?? wake, publishing ?? .max, beat, end)
      clock.pass(to: max(next, clock.time + 1))
      try sign()
      try verify()
      if let moment = publishing, moment <= clock.time {
        publishing = nil
        place = served
        try step(.published)
      }
      if let work, work.end <= clock.time { try endWork() }
      if work == nil, let wake = nextWake, clock.moment(of: wake) <= clock.time + 3 {
        try step(.woke)
      }
    }
  }

  private mutating func sign() throws {
    guard let ring, let active = ring.active else { return }
    guard files[active.number]?.kid == active.kid || excused.contains(active.kid) else {
      throw Violation("what signs has no file")
    }
    let iat = clock.wall / 1_000_000 * 1_000_000
    out.append(
      Out(kid: active.kid, issued: clock.time, iat: iat, exp: iat + life * 1_000_000))
    if out.count > 64 { out.removeFirst() }
  }

  private mutating func verify() throws {
    for index in verifiers.indices {
      // As old as it may be, or fetched now and then.
      if clock.time - verifiers[index].fetched >= ahead || random.chance(0.05) {
        verifiers[index] = Verifier(cache: place, fetched: clock.time)
      }
      for token in out
      where token.iat <= clock.wall && clock.wall < token.exp
        && clock.time - token.issued < life * 1_000_000 && !excused.contains(token.kid)
        && !verifiers[index].cache.contains(token.kid)
      {
        // What was fetched before there was any key is nobody's fault.
        guard !verifiers[index].cache.isEmpty else { continue }
        throw Violation(
          "a token of \(token.kid) is refused by who knows \(verifiers[index].cache.sorted())")
      }
    }
  }
}
