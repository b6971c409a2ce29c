/// What a ring of keys is to do next.
extension KeyRing {
  /// The next piece of work, most urgent first; nil when there is none now.
  mutating func nextWork(_ now: Mark) -> Work? {
    let all = members + fresh
    if let active, !loaded.contains(active.number) {
      return .load(number: active.number, kid: active.kid)
    }
    if let work = workForWish(all, now) { return work }
    guard let active = all.first(where: { $0.state == .active }) else {
      return successor(in: all).map { succeed($0, in: all, now) } ?? make(all)
    }
    if isRotationDue(active, now), let next = all.first(where: { isNext($0) && isReady($0, now) }) {
      return succeed(next, in: all, now)
    }
    if !fresh.isEmpty || isDirty { return save(all, now) }
    if needsNext(active, now), !all.contains(where: isNext), hasRoom(all) {
      return make(all)
    }
    if let work = progress(all, now) { return work }
    let kept = all.lazy.filter { $0.state != .retired }.map(\.number)
    if let number = files.subtracting(kept).min() { return .remove(number: number) }
    if let stateAge, now.seen - savedAt >= stateAge { return save(all, now) }
    return nil
  }

  /// How long there is nothing to do, if nothing happens; nil for ever.
  func nextPause(_ now: Mark) -> Duration? {
    var pauses = members.compactMap { member in
      switch member.state {
      case .published: member.published.map { rest(ofPublished: $0, now) }
      case .retiring: rest(ofRetiring: member, now)
      case .active, .retired: nil
      }
    }
    if let every = policy.rotateEvery, let active {
      let left = every - age(active, now)
      pauses += [left, left - policy.publishAhead]
    }
    if let stateAge { pauses.append(savedAt + stateAge - now.seen) }
    if let retryAt { pauses = [retryAt - now.seen] }
    return pauses.filter { $0 > .zero }.min()
  }

  /// Makes another. One that failed to be made may be there all the same: it is made over.
  private func make(_ all: [Member]) -> Work {
    .make(policy.algorithm, number: max(lastNumber, all.map(\.number).max() ?? 0) + 1)
  }

  // MARK: Changes that come with time

  private func hasRoom(_ all: [Member]) -> Bool {
    all.count { $0.state != .retired } < Limits.keyMembers
  }

  private func isRotationDue(_ active: Member, _ now: Mark) -> Bool {
    active.algorithm != policy.algorithm
      || policy.rotateEvery.map { age(active, now) >= $0 } ?? false
  }

  private func needsNext(_ active: Member, _ now: Mark) -> Bool {
    active.algorithm != policy.algorithm
      || policy.rotateEvery.map { age(active, now) >= $0 - policy.publishAhead } ?? false
  }

  /// How often the time that was seen is saved, while something ends once more of it has passed;
  /// nil while nothing does.
  private var stateAge: Duration? {
    others.map { member in
      let whole = member.state == .published ? policy.publishAhead : member.life
      return max(Limits.keyStateAge, whole / 16)
    }.min()
  }

  /// What publication and time bring; nil for nothing.
  private mutating func progress(_ all: [Member], _ now: Mark) -> Work? {
    if isOut, all.contains(where: { isNext($0) && $0.published == nil }) {
      var known = all
      for index in known.indices where isNext(known[index]) {
        known[index].published = known[index].published ?? now
      }
      return save(known, now)
    }
    if let lost = all.first(where: { $0.state == .published && !isNext($0) }) {
      return drop(lost, from: all, now)
    }
    let over = all.first { $0.state == .retiring && rest(ofRetiring: $0, now) <= .zero }
    return over.map { drop($0, from: all, now) }
  }

  /// Retires a member for good. Its file goes first: were the state lost after that, it could not
  /// come back.
  private mutating func drop(
    _ member: Member, from all: [Member], _ now: Mark
  ) -> Work {
    files.contains(member.number)
      ? .remove(number: member.number) : save(retired(member, in: all, now), now)
  }

  /// `all`, in which that member is retired.
  private func retired(
    _ member: Member, in all: [Member], _ now: Mark, isRevoked: Bool = false
  ) -> [Member] {
    var changed = all
    for index in changed.indices where changed[index].kid == member.kid {
      changed[index].state = .retired
      changed[index].retired = changed[index].retired ?? now
      changed[index].isRevoked = isRevoked
    }
    return changed
  }

  /// Who is to sign when nobody can: whom verifiers have known for longest.
  private func successor(in all: [Member], besides kid: String? = nil) -> Member? {
    all.filter { isNext($0) && $0.kid != kid }.min { left, right in
      guard let known = left.published else { return false }
      return right.published.map { known.seen < $0.seen } ?? true
    }
  }

  /// Has `next` sign: its private key is read first, and then the change is saved.
  private mutating func succeed(_ next: Member, in all: [Member], _ now: Mark) -> Work {
    guard loaded.contains(next.number) else {
      return .load(number: next.number, kid: next.kid)
    }
    return save(activating(next.kid, in: all, now), now)
  }

  private func activating(_ kid: String, in all: [Member], _ now: Mark) -> [Member] {
    all.map { member in
      var member = member
      if member.kid == kid {
        member.state = .active
        member.published = member.published ?? now
        member.activated = now
        member.retired = nil
        member.latest = max(member.latest ?? now.wall, now.wall)
        member.life = max(member.life, policy.longestLife)
      } else if member.state == .active {
        member.state = .retiring
        member.retired = now
      }
      return member
    }
  }

  private mutating func save(_ all: [Member], _ now: Mark) -> Work {
    // Of those that are gone, the last are remembered.
    let retired = all.filter { $0.state == .retired }
    let forgotten = Set(retired.dropLast(Limits.retiredMembers).map(\.kid))
    let kept = all.filter { !forgotten.contains($0.kid) }
    pending = kept
    return .save(text(of: kept, now))
  }

  // MARK: Wishes

  mutating func ask(_ wish: Wish, _ id: Wish.ID, _ now: Mark) {
    do throws(Failure) {
      guard self.wish == nil else { throw Failure("something else is under way: try again") }
      let wish = try resolved(wish)
      if let fault = fault(of: wish, now) { throw fault }
      if isFulfilled(wish) { return turn.answers.append((id, nil)) }
      self.wish = (wish, id)
    } catch { return turn.answers.append((id, error)) }
    // Whoever asks may have mended what failed.
    retryAt = nil
  }

  /// The same wish, with the kid of the member that it names.
  private func resolved(_ wish: Wish) throws(Failure) -> Wish {
    switch wish {
    case .add: .add
    case .activate(let name, let atOnce): .activate(try kid(of: name), atOnce: atOnce)
    case .retire(let name): .retire(try kid(of: name))
    case .revoke(let name): .revoke(try kid(of: name))
    }
  }

  private func kid(of name: String) throws(Failure) -> String {
    let all = members + fresh
    let named = all.filter { "\($0.number)" == name || $0.kid == name }
    let found =
      named.isEmpty && name.utf8.count >= 4 ? all.filter { $0.kid.hasPrefix(name) } : named
    guard found.count == 1 else {
      throw Failure(
        found.isEmpty
          ? "it has no such key: it has "
            + members.map { "\($0.number) (\($0.shortKid))" }.joined(separator: ", ")
          : "several of its keys begin so: say more")
    }
    return found[0].kid
  }

  /// Why a wish cannot be granted; nil when it can.
  private func fault(of wish: Wish, _ now: Mark) -> Failure? {
    let all = members + fresh
    switch wish {
    case .add:
      if let next = all.first(where: isNext) {
        return Failure("\(next.name) is published already, and is the next to sign")
      }
      return hasRoom(all)
        ? nil : Failure("there are \(Limits.keyMembers) already: wait until one is retired")
    case .activate(let kid, let atOnce):
      guard let member = known(kid) else { return nil }
      guard member.state != .retired else {
        return Failure("\(member.name) is retired: add another")
      }
      guard hasKey(member) else {
        return Failure("the private key of \(member.name) is gone")
      }
      guard member.state == .published, !atOnce, !isReady(member, now) else { return nil }
      guard let known = member.published else {
        return Failure(
          "\(member.name) is not at all of its places yet: verifiers would refuse its tokens. Say "
            + "--now to have it sign all the same")
      }
      let ready = (now.wall + rest(ofPublished: known, now)).rfc3339
      return Failure(
        "verifiers may not know \(member.name) before \(ready): some would refuse its tokens. "
          + "Wait, or say --now")
    case .retire(let kid):
      guard let member = known(kid) else { return nil }
      switch member.state {
      case .published, .retired: return nil
      case .active: return Failure("\(member.name) signs: have another sign first, or revoke it")
      case .retiring:
        let end = (now.wall + rest(ofRetiring: member, now)).rfc3339
        return Failure(
          "\(member.name) retires by itself, at \(end), when the last of its tokens has ended; "
            + "revoke it to refuse those")
      }
    case .revoke: return nil
    }
  }

  private func known(_ kid: String) -> Member? { (members + fresh).first { $0.kid == kid } }

  func isFulfilled(_ wish: Wish) -> Bool {
    switch wish {
    case .add: members.contains(where: isNext)
    case .activate(let kid, _): members.contains { $0.kid == kid && $0.state == .active }
    case .retire(let kid):
      members.contains { $0.kid == kid && ($0.state == .retired || $0.state == .retiring) }
    case .revoke(let kid): members.contains { $0.kid == kid && $0.state == .retired }
    }
  }

  private mutating func workForWish(_ all: [Member], _ now: Mark) -> Work? {
    // What it was granted for may have changed while something was saved.
    if let (wanted, id) = wish, wanted != .add, let fault = fault(of: wanted, now) {
      turn.answers.append((id, fault))
      wish = nil
    }
    switch wish?.wish {
    case nil: return nil
    case .add?: return fresh.isEmpty ? make(all) : save(all, now)
    case .activate(let kid, _)?:
      return all.first { $0.kid == kid }.map { succeed($0, in: all, now) }
    case .retire(let kid)?:
      guard let member = all.first(where: { $0.kid == kid }) else { return nil }
      // One that was found without a state may have signed.
      if member.life == .zero { return drop(member, from: all, now) }
      var changed = all
      for index in changed.indices where changed[index].kid == kid {
        changed[index].state = .retiring
        changed[index].retired = now
      }
      return save(changed, now)
    case .revoke(let kid)?: return revoke(kid, all, now)
    }
  }

  private mutating func revoke(_ kid: String, _ all: [Member], _ now: Mark) -> Work? {
    var all = all
    guard let member = all.first(where: { $0.kid == kid }) else { return nil }
    if member.state == .active {
      guard let next = successor(in: all, besides: kid) else { return make(all) }
      guard loaded.contains(next.number) else {
        return .load(number: next.number, kid: next.kid)
      }
      all = activating(next.kid, in: all, now)
    }
    // Saved before its file goes: it must not come back.
    return save(retired(member, in: all, now, isRevoked: true), now)
  }
}

extension KeyRing.Member {
  /// For people: its number, and the beginning of its kid.
  fileprivate var name: String { "key \(number) (\(shortKid))" }
}
