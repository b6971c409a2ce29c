/// What a look at the place of a delivery means: an earlier run's token is kept, what was lost is
/// delivered again, and what is not jotd's stays.
extension Rotator {
  /// Somebody may have taken away or changed what is at these paths: a look tells. Paths of no
  /// delivery are passed over.
  package mutating func noteChanges(at paths: Set<Path>, now: Instant) {
    for (slot, position) in paths.compactMap({ places[$0] }) {
      slots[slot].suspect.insert(position)
      startJobs(slot, position...position, at: now)
      plan(slot, at: now)
    }
  }

  /// Records what was found where `position` of `slot` delivers to.
  mutating func learn(
    _ slot: Int, _ position: Int, _ found: Found, at now: Instant,
    random: inout some RandomNumberGenerator
  ) {
    let isFirst = slots[slot].unread.contains(position)
    slots[slot].unread.remove(position)
    let delivery = slots[slot].identity.deliveries[position]
    let isNews = !slots[slot].claimed.contains(position)
    if isNews {
      if let failure = delivery.reasonToSpare(found) {
        slots[slot].unanswered.remove(position)
        fail(slot, position, failure, at: now, &random)
        schedule.set(slot, due: now)
        return
      }
      slots[slot].claimed.insert(position)
    }
    compare(slot, position, found, isFirst, at: now)
    if slots[slot].token != nil, !slots[slot].undelivered.contains(position) {
      // It hung, and nothing was wrong.
      recover(slot, position)
    }
    if slots[slot].token != nil, slots[slot].isDelivered { completeRotation(slot) }
    // What fails waits for its next try, whatever happens there: that may be its own doing.
    if isNews || !slots[slot].isPausing(at: now) || slots[slot].failures[position] == nil {
      startJobs(slot, position...position, at: now)
    }
    schedule.set(slot, due: now)
  }

  /// Takes over the token that every lasting delivery was found to hold.
  mutating func adoptCandidate(_ slot: Int, at now: Instant) {
    guard slots[slot].token == nil, slots[slot].unread.isEmpty,
      let token = slots[slot].candidate
    else { return }
    slots[slot].candidate = nil
    let identity = slots[slot].identity
    guard slots[slot].agreeing == identity.lastingPositions, token.keyID == signer.keyID,
      token.issued <= now, now < token.expiry - identity.refreshBefore
    else { return }
    slots[slot].adopt(token)
    report(.kept(TokenSummary(token, of: identity)))
    if slots[slot].undelivered.isEmpty { settle(slot) }
  }

  /// `isFirst`: nobody was told yet how the identity stands since it was configured.
  private mutating func compare(
    _ slot: Int, _ position: Int, _ found: Found, _ isFirst: Bool, at now: Instant
  ) {
    let identity = slots[slot].identity
    let delivery = identity.deliveries[position]
    let content: [UInt8]? = if case .file(let bytes, true) = found { bytes } else { nil }
    guard let token = slots[slot].token else {
      guard let content,
        let token = slots[slot].candidate ?? kept(in: content, at: delivery, of: identity, now)
      else { return }
      guard content == delivery.content(token, of: identity) else {
        return noteKey(of: content, at: delivery, beside: token)
      }
      slots[slot].candidate = token
      slots[slot].agreeing.insert(position)
      return
    }
    guard content != delivery.content(token, of: identity) else { return }
    // While a newer token waits to be delivered, what is there may be an earlier one.
    if let displacement = delivery.displacement(found, of: token, of: identity),
      displacement == .something || !slots[slot].undelivered.contains(position)
    {
      report(.displaced(identity: identity.name, path: delivery.path, by: displacement))
    }
    switch found {
    // Readers may still find what was there.
    case .unreadable: break
    // One that waits for a newer token may hold an earlier one.
    case .file(_, isAsConfigured: true) where slots[slot].undelivered.contains(position): break
    case .file, .tooLarge, .nothing:
      slots[slot].held[position] = nil
      if isFirst { unsettle(slot) }
    }
    slots[slot].undelivered.insert(position)
  }

  /// A token of an earlier run that says what `token` does, under another signature, was made with
  /// another key: the secret was changed meanwhile.
  private mutating func noteKey(of content: [UInt8], at delivery: Delivery, beside token: Token) {
    guard !hasToldOfKey, let found = delivery.token(in: content),
      let period = token.compact.lastIndex(of: UInt8(ascii: ".")),
      found.count == token.compact.count, found.starts(with: token.compact[...period]),
      Base64URL.decode(found[(period + 1)...]) != nil
    else { return }
    hasToldOfKey = true
    report(.keyChanged(signer.keyID))
  }

  /// The fresh token in `content`, if it is the one that the current key and claims make: minting
  /// is deterministic, so it is compared with its like.
  private mutating func kept(
    in content: [UInt8], at delivery: Delivery, of identity: Identity, _ now: Instant
  ) -> Token? {
    guard let compact = delivery.token(in: content),
      case .number(let text)? = (try? CompactToken(parsing: compact))?.claims["iat"],
      let issuedAt = Int64(text), issuedAt <= now.wholeSeconds,
      issuedAt > now.wholeSeconds - identity.lifetime.components.seconds,
      let token = try? minter.mint(
        identity.claims, lifetime: identity.lifetime, at: Instant(seconds: issuedAt),
        signer: signer),
      now < token.expiry - identity.refreshBefore
    else { return nil }
    return token
  }
}

extension Delivery {
  /// What became of `token`, which was delivered, by what was found since; nil when nobody can tell.
  fileprivate func displacement(
    _ found: Found, of token: Token, of identity: Identity
  ) -> Displacement? {
    switch found {
    case .nothing: .removal
    case .file(let bytes, _) where bytes.isEmpty: .emptying
    case .file(let bytes, _) where bytes == content(token, of: identity): .attributes
    case .file(let bytes, _) where isReplaceable(bytes): .token
    case .file, .tooLarge: .something
    case .unreadable: nil
    }
  }

  /// Why what was found may not be replaced at the first contact; nil when it may: it holds a
  /// token in one of the formats, or nothing.
  package func reasonToSpare(_ found: Found) -> Failure? {
    switch found {
    case .nothing: return nil
    case .unreadable(let failure): return failure
    case .file(let bytes, _) where isReplaceable(bytes): return nil
    case .file, .tooLarge:
      return Failure(
        "\(path) holds something other than a token, which jotd does not replace: move it away, "
          + "or deliver elsewhere")
    }
  }
}
