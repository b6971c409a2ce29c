/// What happens to a ring of keys, and what comes of it.
extension KeyRing {
  package enum Input: Sendable {
    /// The moment of `Turn.nextWake` has come, or there was another reason to look.
    case woke
    /// The wall clock was set by this much; or by nothing: the machine slept.
    case clockSet(by: Duration)
    /// The configuration says this from now on.
    case configured(Policy)
    /// The set of `members`, as they are, is at all its places.
    case published
    /// The work of the last turn is done.
    case done
    /// A private key was made, and is in a file and in memory.
    case made(kid: String, PublicKey)
    /// The work of the last turn failed; the place may have changed all the same.
    case failed(Failure)
    /// An operator wants something; the answer is in `Turn.answers`, in this turn or a later one.
    case asked(Wish, Wish.ID)
  }

  /// What an operator can want.
  package enum Wish: Equatable, Sendable {
    package typealias ID = UInt64

    /// Another member, to be the next.
    case add
    /// Have this one sign; at once: also when verifiers may not know it yet. A member is named by
    /// its kid, the beginning of that, or its number.
    case activate(String, atOnce: Bool)
    /// Drop one that does not sign.
    case retire(String)
    /// Drop this one, whoever has tokens of it.
    case revoke(String)
  }

  /// What the host is to do for it, and come back; one at a time.
  package enum Work: Equatable, Sendable {
    /// Make a private key for this algorithm, keep it in the file of this number, whatever that
    /// holds, and in memory.
    case make(Algorithm, number: Int)
    /// Read the private key in the file of this number, which must have this kid, into memory.
    case load(number: Int, kid: String)
    /// Make these bytes what the file for the state holds.
    case save([UInt8])
    /// Remove the file of this number.
    case remove(number: Int)
  }

  /// What comes of one step.
  package struct Turn: Sendable {
    package internal(set) var work: Work?
    /// Those whose state is another one.
    package internal(set) var changed: [Member] = []
    /// Whether the set, or what signs, is another one: then it is to be published, and the ring to
    /// be told when it is.
    package internal(set) var hasNewSet = false
    /// A failure that was not known before; and whether the known one is over.
    package internal(set) var failure: Failure?
    package internal(set) var hasRecovered = false
    /// What became of wishes: why not, or nil.
    package internal(set) var answers: [(id: Wish.ID, fault: Failure?)] = []
    /// When the next step is to come at the latest; nil when there is nothing to wait for but the
    /// end of work.
    package internal(set) var nextWake: Instant?
  }

  /// What comes of `input` now.
  package mutating func step(_ input: Input, at moment: Moment) -> Turn {
    turn = Turn()
    let now = mark(moment)
    noteSigning(until: now.wall)
    take(input, now)
    if running == nil, retryAt.map({ $0 <= now.seen }) ?? true {
      retryAt = nil
      if let work = nextWork(now) {
        running = work
        turn.work = work
      }
    }
    turn.nextWake = running == nil ? nextPause(now).map { moment.wall + $0 } : nil
    return turn
  }

  private mutating func take(_ input: Input, _ now: Mark) {
    switch input {
    case .woke: break
    case .clockSet(let step):
      noteSigning(until: now.wall - step)
      // What it said before is to be known after a crash, too.
      if step < .zero { isDirty = true }
    case .configured(let policy): use(policy)
    case .published: isOut = true
    case .asked(let wish, let id): ask(wish, id, now)
    case .made(let kid, let publicKey):
      if case .make(let algorithm, let number)? = running {
        files.insert(number)
        loaded.insert(number)
        fresh.append(
          Member(
            kid: kid, number: number, algorithm: algorithm, publicKey: publicKey,
            state: .published, made: now))
      }
      recover()
    case .done:
      switch running {
      case .load(let number, _): loaded.insert(number)
      case .remove(let number):
        files.remove(number)
        doomed.remove(number)
        // What has no file could not sign after a restart.
        if active?.number != number { loaded.remove(number) }
      case .save: endSaving(now)
      case .make, nil: break
      }
      recover()
    case .failed(let failure): fail(failure, now)
    }
  }

  private mutating func recover() {
    running = nil
    if failure != nil { turn.hasRecovered = true }
    failure = nil
    backoff = Backoff()
  }

  private mutating func fail(_ reason: Failure, _ now: Mark) {
    if case .remove(let number)? = running { doomed.insert(number) }
    running = nil
    if failure != reason { turn.failure = reason }
    failure = reason
    retryAt = now.seen + backoff.next()
    let (saving, asked) = (pending, wish)
    pending = nil
    wish = nil
    guard let asked else { return }
    if case .revoke(let kid) = asked.wish, let saving,
      saving.contains(where: { $0.kid == kid && $0.state == .retired })
    {
      // At once, saved or not.
      adopt(saving, now)
      isDirty = true
      let text = "it is revoked, but that could not be saved, and a restart would bring it back: "
      turn.answers.append((asked.id, Failure("\(text)\(reason)")))
    } else {
      turn.answers.append((asked.id, reason))
    }
  }

  /// What was saved is so from now on.
  private mutating func endSaving(_ now: Mark) {
    guard let saved = pending else { return }
    pending = nil
    adopt(saved, now)
    savedAt = now.seen
    isDirty = false
    if let wish, isFulfilled(wish.wish) {
      turn.answers.append((wish.id, nil))
      self.wish = nil
    }
  }

  private mutating func adopt(_ saved: [Member], _ now: Mark) {
    let before = Dictionary(uniqueKeysWithValues: members.map { ($0.kid, $0) })
    let published = (active?.kid, Set(others.map(\.kid)))
    members = saved
    for index in members.indices where before[members[index].kid]?.state != members[index].state {
      // It may have signed until now.
      if members[index].state == .retiring {
        members[index].cease(now, latest: before[members[index].kid]?.latest)
      }
      turn.changed.append(members[index])
    }
    loaded.formIntersection(members.lazy.filter { $0.state != .retired }.map(\.number))
    fresh = []
    if published != (active?.kid, Set(others.map(\.kid))) {
      isOut = false
      turn.hasNewSet = true
    }
  }
}
