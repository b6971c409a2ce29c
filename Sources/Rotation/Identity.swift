/// A named entry of the configuration, with all that stands there: whom a token speaks for, where
/// it goes, who may ask for it, and what is done after a rotation.
///
/// No invalid value exists: `init` refuses it, and says why in words for the configuration's
/// author. A class, so that all who know of it share one.
package final class Identity: Equatable, Sendable {
  /// `[a-z0-9][a-z0-9._-]{0,63}`.
  package let name: String
  /// The name of the key that its tokens are signed with.
  package let key: String
  /// What its tokens say.
  package let template: TokenTemplate
  /// In microseconds: a `Duration` counts in 128 bits.
  private let spans: (lifetime: Int64, refreshBefore: Int64)
  package let deliveries: [Delivery]
  /// Who may fetch the token on the query socket, beside operators; a unit among them may also load
  /// it as a credential.
  package let access: [AccessRule]
  package let hooks: [Hook]

  /// `claims` are the configured ones, in their order, a subject among them; `type` is the header's
  /// `typ`, `JWT` without it; `key` is what its tokens will be signed with. All arguments are
  /// checked; the error says what is allowed.
  package init(
    name: String, bearer: Bearer, claims: [JSON.Member], type: String? = nil,
    hasTokenID: Bool = false, lifetime: Duration, refreshBefore: Duration, deliveries: [Delivery],
    access: [AccessRule] = [],
    hooks: [Hook] = [], key: KeyLabel
  ) throws(Failure) {
    if let fault = Identity.fault(inName: name) ?? Identity.fault(in: bearer)
      ?? Identity.fault(inLifetime: lifetime)
      ?? Identity.fault(inRefreshBefore: refreshBefore, lifetime: lifetime)
      ?? claims.lazy.compactMap({ Identity.fault(inClaim: $0, hasTokenID: hasTokenID) }).first
      ?? type.flatMap(Identity.fault(inType:))
    {
      throw Failure(fault)
    }
    guard deliveries.count <= Limits.deliveries else {
      throw Failure("an identity has at most \(Limits.deliveries) deliveries")
    }
    let template = TokenTemplate(bearer, type: type, hasID: hasTokenID, claims: claims)
    guard !template.canExceed(Limits.tokenBytes, key) else {
      throw Failure("its tokens would be longer than \(Limits.tokenBytes) bytes: leave claims out")
    }
    self.name = name
    self.key = key.name
    self.template = template
    spans = (lifetime.microseconds, refreshBefore.microseconds)
    self.deliveries = deliveries
    self.access = access
    self.hooks = hooks
  }

  package var bearer: Bearer { template.bearer }
  /// `exp - iat`, whole seconds.
  package var lifetime: Duration { .microseconds(spans.lifetime) }
  /// No token with this much life or less is left in a delivery; below `lifetime`.
  package var refreshBefore: Duration { .microseconds(spans.refreshBefore) }

  package static func == (left: Identity, right: Identity) -> Bool {
    left === right
      || left.rotates(as: right) && left.access == right.access && left.hooks == right.hooks
  }

  /// Whether `other` has the same tokens at the same places, whoever may ask for them, and whatever
  /// is done after a rotation.
  package func rotates(as other: Identity) -> Bool {
    name == other.name && key == other.key && template == other.template && spans == other.spans
      && deliveries == other.deliveries
  }
}

// MARK: What is allowed

extension Identity {
  /// `kind` is what has the name, in words.
  package static func fault(inName name: String, of kind: String = "an identity") -> String? {
    let bytes = name.utf8Span.span
    var isAllowed = (1...64).contains(bytes.count)
    if isAllowed {
      for index in bytes.indices {
        switch bytes[index] {
        case 0x61...0x7a, 0x30...0x39: break
        case UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
          if index == 0 { isAllowed = false }
        default: isAllowed = false
        }
      }
    }
    return isAllowed
      ? nil
      : "\(kind)'s name has 1 to 64 of a-z, 0-9, '.', '_' and '-', "
        + "and begins with a letter or a digit"
  }

  package static func fault(in bearer: Bearer) -> String? {
    let (claim, text) = (bearer.role == nil ? "sub" : "user_id", bearer.name)
    if text.isEmpty { return "\(claim) must not be empty" }
    if text.utf8.count > Limits.bearerBytes {
      return "\(claim) is longer than \(Limits.bearerBytes) bytes"
    }
    // Those of the general category Cc, which is closed (The Unicode Standard, section 4.5).
    // In UTF-8, those above ASCII are 0xc2 and then 0x80 to 0x9f.
    let bytes = text.utf8Span.span
    for index in bytes.indices {
      let byte = bytes[index]
      let isControl =
        byte < 0x20 || byte == 0x7f
        || (0x80...0x9f).contains(byte) && index > 0 && bytes[index - 1] == 0xc2
      if isControl { return "\(claim) must not contain control characters" }
    }
    return nil
  }

  package static func fault(inLifetime lifetime: Duration) -> String? {
    guard lifetime >= Limits.shortestLifetime, lifetime <= Limits.longestLifetime else {
      return "lifetime must be from \(Limits.shortestLifetime.timeSpan) to 10 years"
    }
    guard lifetime.isWholeSeconds else {
      return "lifetime must be a whole number of seconds, because exp and iat are"
    }
    return nil
  }

  package static func fault(
    inRefreshBefore refreshBefore: Duration, lifetime: Duration
  ) -> String? {
    guard refreshBefore >= .zero, refreshBefore < lifetime else {
      return "refresh_before (\(refreshBefore.timeSpan)) must be below the lifetime "
        + "(\(lifetime.timeSpan)): say for example refresh_before: "
        + "\(Duration.seconds(max(1, lifetime.components.seconds / 24)).timeSpan)"
    }
    return nil
  }

  /// Checks one configured claim: not one of jotd's own, and the registered ones of their type
  /// (RFC 7519 section 4.1), because verifiers refuse others.
  package static func fault(inClaim claim: JSON.Member, hasTokenID: Bool = false) -> String? {
    guard claim.value.hasFiniteNumbers else {
      return "a claim has a number that is too large"
    }
    switch (claim.name, claim.value) {
    case ("user_id", _), ("role", _), ("iat", _), ("exp", _):
      return "the claim \(claim.name) is jotd's own to set"
    case ("jti", _) where hasTokenID: return "the claim jti is token_id's to set"
    case ("iss", .string), ("sub", .string), ("jti", .string), ("aud", .string): return nil
    case ("iss", _), ("sub", _), ("jti", _): return "the claim \(claim.name) must be a string"
    case ("aud", .array(let names)):
      for name in names {
        guard case .string = name else { return "the claim aud must be a string or a list of them" }
      }
      return nil
    case ("aud", _): return "the claim aud must be a string or a list of them"
    case ("nbf", .number): return nil
    case ("nbf", _): return "the claim nbf must be a number (seconds since 1970)"
    default: return nil
    }
  }

  /// The header's `typ`: a media type without `application/`, as RFC 7515 section 4.1.9 recommends.
  package static func fault(inType type: String) -> String? {
    TokenTemplate.isWord(type, upTo: Limits.typeBytes)
      ? nil
      : "type is 1 to \(Limits.typeBytes) of \(TokenTemplate.wordRule), such as at+jwt: what "
        + "follows \"application/\" in a media type"
  }

  /// A warning about a window too short for the promise of freshness, or nil. `iat` and `exp` are
  /// whole seconds: a token minted late in a second has up to a second less than its lifetime.
  package var shortWindowWarning: String? {
    guard lifetime - refreshBefore <= .seconds(1) else { return nil }
    return "lifetime (\(lifetime.timeSpan)) less refresh_before (\(refreshBefore.timeSpan)) is "
      + "a second or less: readers can see a token at the threshold, because iat and exp are "
      + "whole seconds"
  }
}

// MARK: When a rotation is due

extension Identity {
  /// When `token` is to be replaced: before its threshold by a spread of its own, which is
  /// between `Limits.spreadLeast` and `Limits.spreadMost` of the window between lifetime and
  /// threshold. The spread follows from the name and the moment of issue alone, so identities
  /// minted together part, and a restarted daemon comes to the same moment.
  package func due(_ token: Token) -> Instant {
    // In floating point: this is asked often.
    let (least, most) = (part(Limits.spreadLeast), part(Limits.spreadMost))
    let lead = least + (most - least) * spreadFraction(issuedAt: token.issuedAt.wholeSeconds)
    let due = token.expiresAt.microseconds - spans.refreshBefore - Int64(lead)
    // Before the next whole second nothing could be gained: the same token would come out.
    return Instant(microseconds: max(due, token.issuedAt.microseconds + 1_000_000))
  }

  /// By how much a rotation is due before its threshold at the least.
  package var leastLead: Duration { .microseconds(Int64(part(Limits.spreadLeast))) }

  /// A part of the window between lifetime and threshold, in microseconds.
  private func part(_ bound: (part: Double, atMost: Double)) -> Double {
    min(Double(spans.lifetime - spans.refreshBefore) * bound.part, bound.atMost)
  }

  /// Evenly spread over 0..<1: FNV-1a over the name, mixed with the time as splitmix64 does.
  private func spreadFraction(issuedAt: Int64) -> Double {
    var hash = name.fnv1a
    hash &+= UInt64(bitPattern: issuedAt) &* 0x9e37_79b9_7f4a_7c15
    hash = (hash ^ (hash >> 30)) &* 0xbf58_476d_1ce4_e5b9
    hash = (hash ^ (hash >> 27)) &* 0x94d0_49bb_1331_11eb
    return Double((hash ^ (hash >> 31)) >> 11) / 9_007_199_254_740_992
  }
}
