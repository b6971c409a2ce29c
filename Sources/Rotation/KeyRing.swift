/// The keys that follow each other under one name, each of which jotd makes itself: which signs,
/// which others verifiers are to know, and what is to be done next.
///
/// A value. Everything that happens is an `Input`, and what comes of it is in the `Turn`; the time
/// comes in as an argument. Invariants between steps:
/// - one member at most is active, and it alone signs;
/// - a member becomes active only after the set with it was at all its places for
///   `Policy.publishAhead`, unless nobody else can sign, or an operator wants it at once;
/// - a member that has signed stays published until the last of its tokens has ended, by the wall
///   clock, which those tokens are judged by, and by the time that was seen to pass, which no
///   setting of that clock shortens; but for one that is revoked;
/// - what changes is saved first, and one piece of work is done at a time.
package struct KeyRing: Sendable {
  /// The order is that of a member's life; an operator may have a retiring one sign again.
  package enum State: String, Sendable {
    /// Verifiers are told of it, and nothing is signed with it yet.
    case published
    case active
    /// It signs no more, and stays published for the tokens that it has signed.
    case retiring
    /// It is not published any more.
    case retired
  }

  /// What the configuration says.
  package struct Policy: Hashable, Sendable {
    package let algorithm: Algorithm
    /// How long a member is active; nil for as long as nobody says otherwise.
    package let rotateEvery: Duration?
    /// How long verifiers have to take notice of a member before it signs.
    package let publishAhead: Duration
    /// The longest life of a token of this key.
    package let longestLife: Duration

    package init(
      algorithm: Algorithm, rotateEvery: Duration?, publishAhead: Duration, longestLife: Duration
    ) {
      self.algorithm = algorithm
      self.rotateEvery = rotateEvery
      self.publishAhead = publishAhead
      self.longestLife = longestLife
    }
  }

  /// When something happened.
  package struct Mark: Hashable, Sendable {
    package let wall: Instant
    /// How much time the ring had seen to pass, at the least: while jotd ran, between two runs
    /// within one boot of the machine, and since a later boot.
    let seen: Duration
  }

  /// The present, as the host knows it.
  package struct Moment: Sendable {
    package let wall: Instant
    /// Since the machine booted, sleep included (CLOCK_BOOTTIME, clock_gettime(2)).
    package let sinceBoot: Duration

    package init(wall: Instant, sinceBoot: Duration) {
      self.wall = wall
      self.sinceBoot = sinceBoot
    }
  }

  package struct Member: Equatable, Sendable {
    /// Its name in tokens and sets: the thumbprint of its public half (RFC 7638).
    package let kid: String
    /// That of its file: larger than those of all that were made before.
    package let number: Int
    package let algorithm: Algorithm
    package let publicKey: PublicKey
    package internal(set) var state: State
    package let made: Mark
    /// When the set with it was at all its places; nil before.
    package internal(set) var published: Mark?
    package internal(set) var activated: Mark?
    /// When it ceased to sign, or to be published if it never signed.
    package internal(set) var retired: Mark?
    /// The longest life of a token that it may have signed; zero before it has signed any.
    var life = Duration.zero
    package internal(set) var isRevoked = false
    /// The latest time of the wall clock at which it may have signed: the clock may be set back.
    var latest: Instant?

    /// Enough of its kid for people, and too little to be taken for a part of a token.
    package var shortKid: String { String(kid.prefix(8)) }
  }

  package private(set) var policy: Policy
  /// Those that are not retired, and the last that are, in the order in which they were made.
  package internal(set) var members: [Member]
  /// Those of which there is a file, and that are not saved as members yet.
  var fresh: [Member] = []
  /// The numbers of those that the host can sign with.
  var loaded: Set<Int> = []
  /// The numbers of the files with private keys.
  var files: Set<Int> = []
  /// `Mark.seen` less `Moment.sinceBoot`.
  private let offset: Duration
  private let bootID: String
  /// How much time had been seen when it was saved last.
  var savedAt: Duration
  /// Those of files that could not be removed, and may be gone all the same.
  var doomed: Set<Int> = []
  /// The largest number of a file, also of one that holds no key.
  let lastNumber: Int
  /// Whether what is saved is another than this.
  var isDirty: Bool
  /// Whether the present set is known to be at all its places.
  var isOut = false
  var running: Work?
  var pending: [Member]?
  var wish: (wish: Wish, id: Wish.ID)?
  /// Why the last try at something failed; nil when all is well.
  package internal(set) var failure: Failure?
  var backoff = Backoff()
  /// By the time that was seen.
  var retryAt: Duration?
  var turn = Turn()

  /// What was saved by an earlier run, and what was found of it.
  init(
    _ policy: Policy, members: [Member], fresh: [Member], files: Set<Int>, lastNumber: Int,
    offset: Duration, bootID: String, savedAt: Duration, isDirty: Bool
  ) {
    self.policy = policy
    self.members = members
    self.fresh = fresh
    self.files = files
    self.lastNumber = lastNumber
    self.offset = offset
    self.bootID = bootID
    self.savedAt = savedAt
    self.isDirty = isDirty
  }
}

// MARK: What it is asked

extension KeyRing {
  /// The one that signs; nil before the first.
  package var active: Member? { members.first { $0.state == .active } }

  /// The one that signs, or is to, whether that is saved or not.
  package var signing: Member? { (members + fresh).first { $0.state == .active } }

  /// Whether there is an active member, saved as such, whose private key is in memory.
  package var canSign: Bool { !isDirty && active.map { loaded.contains($0.number) } ?? false }

  /// The others that verifiers are to know.
  package var others: [Member] {
    members.filter { $0.state == .published || $0.state == .retiring }
  }

  /// When the active member is to be replaced; nil for never.
  package var rotation: Instant? {
    guard let every = policy.rotateEvery, let active, let since = active.activated else {
      return nil
    }
    return since.wall + every
  }

  /// From when on a rotation is late by more than what a whole one takes; nil for never.
  package var overdue: Instant? {
    guard let every = policy.rotateEvery else { return nil }
    return rotation.map { $0 + policy.publishAhead + min(Limits.keyMargin, every) }
  }

  /// When a published member may sign, and when a retiring one may go, if the clock is not set;
  /// nil for others, and for one whose publication is not known to be complete.
  package func nextState(of member: Member, at moment: Moment) -> Instant? {
    let now = mark(moment)
    switch member.state {
    case .published: return member.published.map { moment.wall + rest(ofPublished: $0, now) }
    case .retiring: return moment.wall + rest(ofRetiring: member, now)
    case .active, .retired: return nil
    }
  }

  func mark(_ moment: Moment) -> Mark {
    Mark(wall: moment.wall, seen: moment.sinceBoot + offset)
  }

  /// How long verifiers still have, or less than nothing.
  func rest(ofPublished published: Mark, _ now: Mark) -> Duration {
    published.seen + policy.publishAhead - now.seen
  }

  /// How much longer than its tokens live a member stays published, for clocks that differ.
  package static func margin(ofLife life: Duration) -> Duration { min(Limits.keyMargin, life / 10) }

  /// How long tokens of `member` may still be about, or less than nothing.
  func rest(ofRetiring member: Member, _ now: Mark) -> Duration {
    guard let retired = member.retired else { return .zero }
    let life = member.life + KeyRing.margin(ofLife: member.life)
    return max(retired.wall + life - now.wall, retired.seen + life - now.seen)
  }

  /// Whether its private key is there, and to stay.
  func hasKey(_ member: Member) -> Bool {
    files.contains(member.number) && !doomed.contains(member.number)
  }

  /// Whether it is published, and can be the next to sign.
  func isNext(_ member: Member) -> Bool {
    member.state == .published && hasKey(member)
  }

  func isReady(_ member: Member, _ now: Mark) -> Bool {
    guard hasKey(member) else { return false }
    switch member.state {
    case .published: return member.published.map { rest(ofPublished: $0, now) <= .zero } ?? false
    case .retiring: return true
    case .active, .retired: return false
    }
  }

  /// How long `member` has been active, by whichever clock says more: a new key too early is
  /// better than one too late.
  func age(_ member: Member, _ now: Mark) -> Duration {
    guard let since = member.activated else { return .zero }
    return max(now.wall - since.wall, now.seen - since.seen)
  }

  /// What is saved at this moment.
  func text(of members: [Member], _ now: Mark) -> [UInt8] {
    Saved(members: members, at: now, bootID: bootID, sinceBoot: now.seen - offset).text
  }

  /// Tokens of the active member may say that it was so late.
  mutating func noteSigning(until wall: Instant) {
    for index in members.indices where members[index].state == .active {
      members[index].latest = max(members[index].latest ?? wall, wall)
    }
  }

  mutating func use(_ new: Policy) {
    policy = new
    guard let index = members.firstIndex(where: { $0.state == .active }),
      members[index].life < new.longestLife
    else { return }
    members[index].life = new.longestLife
    isDirty = true
  }
}
