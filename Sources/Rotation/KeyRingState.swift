/// What is kept of a ring of keys over restarts: one file for the state, and one for each private
/// key. Either may be lost, and what they say together is made the best of.
extension KeyRing {
  /// What the file for the state says.
  package struct Saved: Sendable {
    let members: [Member]
    /// When it was saved, in which boot of the machine that was, and how long after that.
    let at: Mark
    let bootID: String
    let sinceBoot: Duration
  }

  /// What files are numbered with: so many are never made.
  package static let numbers = 1..<1 << 40

  /// A private key that is in a file.
  package struct File: Sendable {
    let kid: String
    let algorithm: Algorithm
    let publicKey: PublicKey
    let number: Int

    package init(kid: String, algorithm: Algorithm, publicKey: PublicKey, number: Int) {
      self.kid = kid
      self.algorithm = algorithm
      self.publicKey = publicKey
      self.number = number
    }
  }

  /// What an earlier run left: `saved` is nil where its file is lost, or says nothing; `lastNumber`
  /// is that of the last file, whatever it holds. `bootID` tells this boot of the machine from all
  /// others (random(4), boot_id); empty when nobody knows.
  package init(
    _ saved: Saved?, files found: [File], lastNumber: Int, _ policy: Policy, bootID: String,
    at moment: Moment
  ) {
    // Time that nobody can know of does not count: the clock may have been set meanwhile.
    var seen = saved?.at.seen ?? .zero
    if let saved, !bootID.isEmpty, !saved.bootID.isEmpty {
      let isSameBoot = saved.bootID == bootID
      seen += max(.zero, moment.sinceBoot - (isSameBoot ? saved.sinceBoot : .zero))
    }
    let now = Mark(wall: moment.wall, seen: seen)
    var members = saved?.members ?? []
    let known = Dictionary(uniqueKeysWithValues: members.map { ($0.number, $0.kid) })
    // A file with another key than it was, or a copy of one, is none.
    var kids = Set(known.values)
    let files = found.sorted { $0.number < $1.number }.filter { file in
      known[file.number].map { $0 == file.kid } ?? kids.insert(file.kid).inserted
    }
    let unknown = files.filter { known[$0.number] == nil }
    var fresh: [Member] = []
    if saved == nil {
      // Nobody knows which signed. Verifiers know the oldest for longest.
      fresh = unknown.map { Member(found: $0, now, life: policy.longestLife) }
      if !fresh.isEmpty {
        fresh[0].state = .active
        fresh[0].published = now
        fresh[0].activated = now
      }
    } else if let last = unknown.last, !members.contains(where: { $0.state == .published }) {
      // It was made, and there was no time to save that.
      fresh = [Member(found: last, now, life: .zero)]
    }
    members.reconcile(with: Set(files.map(\.number)), savedAt: saved?.at.seen ?? .zero, now)
    self.init(
      policy, members: members, fresh: fresh, files: Set(files.map(\.number)),
      lastNumber: lastNumber,
      offset: seen - moment.sinceBoot, bootID: bootID, savedAt: seen,
      isDirty: members != saved?.members ?? [])
    // What the clock would say if nobody had set it since.
    if let saved { noteSigning(until: saved.at.wall + (seen - saved.at.seen)) }
    use(policy)
  }
}

extension KeyRing.Member {
  /// One of which nothing is known but its file; tokens of up to this life may be about.
  fileprivate init(found file: KeyRing.File, _ now: KeyRing.Mark, life: Duration) {
    self.init(
      kid: file.kid, number: file.number, algorithm: file.algorithm, publicKey: file.publicKey,
      state: .published, made: now, life: life)
  }
}

extension KeyRing.Member {
  /// It may have signed until now, by a clock that said up to `latest`.
  mutating func cease(_ now: KeyRing.Mark, latest other: Instant? = nil) {
    latest = [latest, other, now.wall].compactMap(\.self).max()
    retired = KeyRing.Mark(wall: latest ?? now.wall, seen: now.seen)
  }
}

extension [KeyRing.Member] {
  /// Holds what was saved against the files that there are.
  fileprivate mutating func reconcile(
    with files: Set<Int>, savedAt: Duration, _ now: KeyRing.Mark
  ) {
    for index in indices {
      let hasFile = files.contains(self[index].number)
      switch self[index].state {
      // Nothing can be signed with it any more, and what was is still about.
      case .active where !hasFile:
        self[index].state = .retiring
        self[index].cease(now)
      case .published where !hasFile:
        self[index].state = self[index].life > .zero ? .retiring : .retired
        self[index].retired = now
      // Nobody knows how long it went on to sign after that was saved.
      case .retiring where self[index].retired.map({ $0.seen >= savedAt }) ?? true:
        self[index].cease(now)
      default: break
      }
    }
  }
}

// MARK: As text

extension KeyRing.Saved {
  private static let version: Int64 = 1

  /// One JSON object and a newline; times in microseconds.
  var text: [UInt8] {
    let object = JSON.object([
      JSON.Member("version", .number(KeyRing.Saved.version)),
      JSON.Member("boot_id", .string(bootID)),
      JSON.Member("since_boot", .number(sinceBoot.microseconds)),
      JSON.Member("at", at.json),
      JSON.Member("members", .array(members.map(\.json))),
    ])
    var bytes: [UInt8] = []
    object.append(to: &bytes)
    return bytes + [0x0a]
  }

  /// Reads it. Throws what is wrong with it; with the code EPROTO, when a later jotd wrote it.
  package init(parsing text: [UInt8]) throws(Failure) {
    let object: JSON
    do throws(Failure) { object = try JSON(parsing: text) } catch {
      throw Failure("it is no acceptable JSON: \(error)")
    }
    guard let version = object["version"]?.int64 else { throw Failure("it has no version") }
    guard version == KeyRing.Saved.version else {
      throw Failure("it is of version \(version), which this jotd does not know", code: 71)
    }
    guard case .string(let bootID)? = object["boot_id"],
      let sinceBoot = object["since_boot"]?.microseconds,
      let at = object["at"].flatMap(KeyRing.Mark.init),
      case .array(let list)? = object["members"]
    else { throw Failure("it lacks boot_id, since_boot, at or members") }
    var members: [KeyRing.Member] = []
    for each in list { members.append(try KeyRing.Member(each)) }
    guard Set(members.map(\.kid)).count == members.count,
      Set(members.map(\.number)).count == members.count,
      members.count(where: { $0.state == .active }) <= 1,
      members.count <= 2 * Limits.keyMembers + Limits.retiredMembers
    else { throw Failure("its members do not go together") }
    self.init(
      members: members, at: at,
      bootID: bootID, sinceBoot: sinceBoot)
  }
}

extension KeyRing.Member {
  fileprivate var json: JSON {
    let marks = [
      ("made", made), ("published", published), ("activated", activated), ("retired", retired),
    ]
    return .object(
      [
        JSON.Member("number", .number(Int64(number))),
        JSON.Member("state", .string(state.rawValue)),
        JSON.Member("jwk", publicKey.jwk(algorithm, kid: kid)),
        JSON.Member("life", .number(life.microseconds)),
      ] + (latest.map { [JSON.Member("latest", .number($0.microseconds))] } ?? [])
        + (isRevoked ? [JSON.Member("revoked", .bool(true))] : [])
        + marks.compactMap { name, mark in mark.map { JSON.Member(name, $0.json) } })
  }

  fileprivate init(_ json: JSON) throws(Failure) {
    guard let number = json["number"]?.int64, KeyRing.numbers.contains(Int(number)),
      case .string(let state)? = json["state"], let state = KeyRing.State(rawValue: state),
      let jwk = json["jwk"], case .string(let kid)? = jwk["kid"], KeyLabel.fault(inKid: kid) == nil,
      case .string(let name)? = jwk["alg"], let algorithm = Algorithm(rawValue: name),
      let life = json["life"]?.microseconds, life >= .zero,
      let made = json["made"].flatMap(KeyRing.Mark.init)
    else { throw Failure("a member lacks number, state, jwk, life or made") }
    let publicKey = try PublicKey(jwk: jwk)
    if let fault = publicKey.fault(for: algorithm) { throw Failure(fault) }
    var isRevoked = false
    if case .bool(true)? = json["revoked"] { isRevoked = true }
    self.init(
      kid: kid, number: Int(number), algorithm: algorithm, publicKey: publicKey, state: state,
      made: made,
      published: json["published"].flatMap(KeyRing.Mark.init),
      activated: json["activated"].flatMap(KeyRing.Mark.init),
      retired: json["retired"].flatMap(KeyRing.Mark.init), life: life, isRevoked: isRevoked,
      latest: (json["latest"]?.microseconds).map { Instant(microseconds: $0.microseconds) })
  }
}

extension KeyRing.Mark {
  fileprivate var json: JSON {
    .object([
      JSON.Member("wall", .number(wall.microseconds)),
      JSON.Member("seen", .number(seen.microseconds)),
    ])
  }

  fileprivate init?(_ json: JSON) {
    guard let wall = json["wall"]?.microseconds, let seen = json["seen"]?.microseconds else {
      return nil
    }
    self.init(wall: Instant(microseconds: wall.microseconds), seen: seen)
  }
}

extension JSON {
  fileprivate var int64: Int64? {
    if case .number(let text) = self { Int64(text) } else { nil }
  }

  /// A span or a moment in microseconds, of up to a thousand years: sums of some do not overflow.
  fileprivate var microseconds: Duration? {
    guard let number = int64, abs(number / 1_000_000) < 32_000_000_000 else { return nil }
    return .microseconds(number)
  }
}
