/// What a look at the place of a delivery means: an earlier run's token is kept, what was lost is
/// delivered again, and what is not jotd's stays.
extension RotationState {
  /// Somebody may have changed what is at `position`.
  mutating func touch(_ position: Int, _ agenda: inout Agenda) {
    suspect.insert(position)
    startJobs(position...position, &agenda)
    plan(&agenda)
  }

  /// Its key came: what its places hold may be a token of that. They are looked at once more, but
  /// those that hang.
  mutating func lookAnew(_ agenda: inout Agenda) {
    // That it was not there is no failure of the next try.
    clearFailure(RotationState.minting, &agenda)
    if failures.isEmpty { backoff = Backoff() }
    guard token == nil else { return }
    candidate = nil
    agreeing = Positions()
    unread = subject.lastingPositions
    for position in subject.deliveries.indices where agenda.stalled.contains(path(position)) {
      unread.remove(position)
    }
  }

  /// A look at `position` came back.
  mutating func endLook(
    _ position: Int, _ outcome: Outcome, _ agenda: inout Agenda,
    _ random: inout some RandomNumberGenerator
  ) {
    let hasStalled = agenda.stalled.remove(path(position)) != nil
    running.remove(position)
    let found: Found =
      switch outcome {
      case .found(let found): found
      case .failed(let failure): .unreadable(failure)
      case .done, .signed: .nothing
      }
    learn(position, found, hasStalled, &agenda, &random)
    plan(&agenda)
  }

  private mutating func learn(
    _ position: Int, _ found: Found, _ hasStalled: Bool, _ agenda: inout Agenda,
    _ random: inout some RandomNumberGenerator
  ) {
    let isFirst = unread.contains(position)
    unread.remove(position)
    let isNews = !claimed.contains(position)
    if isNews {
      if let failure = subject.deliveries[position].reasonToSpare(found) {
        unanswered.remove(position)
        return fail(position, failure, &agenda, &random)
      }
      claimed.insert(position)
    }
    compare(position, found, &agenda)
    // It hung, and nothing was wrong.
    if token != nil, !undelivered.contains(position) { recover(position, &agenda) }
    if token != nil, isDelivered { completeRotation(&agenda) }
    // What fails waits for its next try, because the change that was seen may be that try's own.
    // Not at the first look after a reload: whoever reloads may have mended it; and not what only
    // hung.
    if isNews || isFirst || hasStalled || !isPausing(at: agenda.now) || failures[position] == nil {
      startJobs(position...position, &agenda)
    }
  }

  /// Takes over the token that every lasting delivery was found to hold, but for those where nobody
  /// could tell, or where what is there is not jotd's: a start is no reason to replace the others'.
  mutating func adoptCandidate(_ agenda: inout Agenda) {
    guard token == nil, unread.isEmpty, let candidate else { return }
    let holders = agreeing
    self.candidate = nil
    agreeing = Positions()
    var others = subject.lastingPositions
    others.subtract(holders)
    guard !others.contains(anyOf: claimed),
      subject.isUsable(candidate, agenda.keys, at: agenda.now)
    else { return }
    adopt(candidate, heldBy: holders, &agenda)
  }

  private mutating func compare(_ position: Int, _ found: Found, _ agenda: inout Agenda) {
    let delivery = subject.deliveries[position]
    let content: [UInt8]? = if case .file(let bytes, true) = found { bytes } else { nil }
    guard let token else {
      // What an earlier look found here does not count any more.
      agreeing.remove(position)
      if let content { recognize(content, at: position, &agenda) }
      return
    }
    guard content != subject.content(token, at: delivery) else { return }
    // While a newer token waits to be delivered, what is there may be an earlier one.
    if let displacement = delivery.displacement(found, of: subject.content(token, at: delivery)),
      displacement == .something || !undelivered.contains(position)
    {
      agenda.report(.displaced(subject.name, path: delivery.path, by: displacement))
    }
    switch found {
    // Readers may still find what was there.
    case .unreadable: break
    // One that waits for a newer token may hold an earlier one.
    case .file(_, isAsConfigured: true) where undelivered.contains(position): break
    case .file, .tooLarge, .nothing:
      held[position] = nil
    }
    undelivered.insert(position)
  }

  /// Before the first token: what an earlier run left at `position` may be it.
  private mutating func recognize(
    _ content: [UInt8], at position: Int, _ agenda: inout Agenda
  ) {
    let delivery = subject.deliveries[position]
    if candidate == nil {
      switch subject.recognize(content, at: delivery, agenda.keys, at: agenda.now) {
      case .ours(let token): candidate = token
      // Said once: every token that it signed is replaced anyway.
      case .ofAnotherKey:
        guard !agenda.toldOfKeys.contains(subject.key), let key = agenda.keys[subject.key]
        else { return }
        return agenda.tell(ofNew: key)
      case nil: return
      }
    }
    // One that is too long for its clients is minted anew, so that somebody hears of it.
    if let candidate, content == subject.content(candidate, at: delivery),
      delivery.maxBytes.map({ content.count <= $0 }) ?? true
    {
      agreeing.insert(position)
    }
  }
}

/// What a token of an earlier run is.
private enum Recognition {
  /// One that may stay in use.
  case ours(Token)
  /// The secret was changed meanwhile: it says what a new one would, under another signature.
  case ofAnotherKey
}

extension Subject {
  /// Whether `token` may be in use at `now`.
  fileprivate func isUsable(_ token: Token, _ keys: Keys, at now: Instant) -> Bool {
    isCurrent(token, keys, at: now) && token.issuedAt <= now
      && freshness(ofTokenExpiring: token.expiresAt, at: now) == .fresh
  }

  /// What `content`, found at `delivery`, holds; nil for nothing that is known here.
  fileprivate func recognize(
    _ content: [UInt8], at delivery: Delivery, _ keys: Keys, at now: Instant
  ) -> Recognition? {
    switch self {
    case .identity(let identity):
      return delivery.token(in: content).flatMap { identity.recognize($0, keys, at: now) }
    case .publication(let publication):
      guard let set = try? keys.set(of: publication, at: now), content == set.compact else {
        return nil
      }
      return .ours(set)
    }
  }
}

extension Identity {

  /// What `compact` is, if it says what a token of this identity says that is fresh at `now`: the
  /// header and claims byte for byte, for jotd wrote them.
  fileprivate func recognize(_ compact: [UInt8], _ keys: Keys, at now: Instant) -> Recognition? {
    guard let signer = keys[key]?.signing, let parsed = try? CompactToken(parsing: compact),
      case .number(let text)? = parsed.claims["iat"], let seconds = Int64(text),
      seconds <= now.wholeSeconds, seconds > now.wholeSeconds - lifetime.components.seconds,
      case let issuedAt = Instant(seconds: seconds),
      case let stamp = TokenTemplate.Stamp(
        issuedAt: issuedAt, expiresAt: issuedAt + lifetime, id: template.id(in: parsed.claims)),
      !template.hasID || stamp.id != nil, parsed.payload == template.payload(stamp),
      compact.starts(with: template.header(signer.algorithm, kid: signer.kid)),
      parsed.signature.count == signer.signatureBytes
    else { return nil }
    let token = Token(
      compact: compact, issuedAt: issuedAt, expiresAt: issuedAt + lifetime,
      origin: .key(signer.keyID))
    guard Subject.identity(self).isUsable(token, keys, at: now) else { return nil }
    // A signature that could not be checked says nothing of the key.
    guard let isSigned = try? signer.verifies(parsed.signature, of: parsed.signingInput) else {
      return nil
    }
    if isSigned { return .ours(token) }
    // The configuration gave it another key.
    let others = keys.all.compactMap(\.signing).filter { $0.algorithm == signer.algorithm }
    let isOfOther = others.contains {
      (try? $0.verifies(parsed.signature, of: parsed.signingInput)) == true
    }
    return isOfOther ? nil : .ofAnotherKey
  }
}

extension Delivery {
  /// What became of `content`, which was delivered, by what was found since; nil when nobody can
  /// tell.
  fileprivate func displacement(
    _ found: Found, of content: [UInt8]
  ) -> Displacement? {
    switch found {
    case .nothing: .removal
    case .file(let bytes, _) where bytes.isEmpty: .emptying
    case .file(let bytes, _) where bytes == content: .attributes
    case .file(let bytes, _) where isReplaceable(bytes): .token
    case .file, .tooLarge: .something
    case .unreadable: nil
    }
  }

  /// Why what was found may not be replaced at the first contact; nil when it may: it holds what is
  /// delivered there, or nothing.
  package func reasonToSpare(_ found: Found) -> Failure? {
    switch found {
    case .nothing: return nil
    case .unreadable(let failure): return failure
    case .file(let bytes, _) where isReplaceable(bytes): return nil
    // A text of another template, perhaps.
    case .file(let bytes, _) where isText && Format.hasToken(bytes):
      return Failure(
        "\(path) holds another text with a token in it, which only a running jotd replaces that "
          + "wrote it: reload that, or move the file away")
    case .file, .tooLarge:
      return Failure(
        "\(path) holds something other than \(noun), which jotd does not replace: move it away, "
          + "or deliver elsewhere")
    }
  }
}
