/// A JWS in compact serialization taken apart (RFC 7515 section 7.1): well formed, not verified.
package struct CompactToken: Sendable {
  package let header: JSON
  package let claims: JSON
  package let signature: [UInt8]
  /// What the signature is over: the first two parts and the period between them.
  package let signingInput: [UInt8]

  /// Takes `text` apart; throws `.malformed` with the reason.
  package init(parsing text: [UInt8]) throws(Refusal) {
    guard !text.isEmpty else { throw Refusal(.malformed, "there is no token") }
    guard text.count <= Limits.tokenBytes else {
      throw Refusal(.malformed, "longer than \(Limits.tokenBytes) bytes")
    }
    let parts = text.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard parts.count == 3 else {
      let hint = parts.count == 5 ? ": five make an encrypted token (JWE)" : ""
      throw Refusal(
        .malformed,
        "a signed token has three parts with periods between, this has \(parts.count)\(hint)")
    }
    header = try CompactToken.object(parts[0], "header")
    claims = try CompactToken.object(parts[1], "claims set")
    guard let signature = Base64URL.decode(parts[2]) else {
      throw Refusal(.malformed, "the signature is not base64url")
    }
    self.signature = signature
    signingInput = Array(text[..<parts[1].endIndex])
  }

  private static func object(_ part: ArraySlice<UInt8>, _ name: String) throws(Refusal) -> JSON {
    guard let bytes = Base64URL.decode(part) else {
      throw Refusal(.malformed, "the \(name) is not base64url")
    }
    let value: JSON
    do { value = try JSON(parsing: bytes) } catch {
      throw Refusal(.malformed, "the \(name) is not acceptable JSON: \(error.detail)")
    }
    guard case .object = value else {
      throw Refusal(.malformed, "the \(name) is not a JSON object")
    }
    return value
  }
}

/// Why a token is not accepted. The raw values are part of the command line's contract.
package struct Refusal: Error, Sendable {
  package enum Reason: String, CaseIterable, Sendable {
    case expired, signature, algorithm, malformed
    case missingClaim = "missing_claim"
    case role
    case notYetValid = "not_yet_valid"
  }

  package let reason: Reason
  /// In words; never quotes the token.
  package let detail: String

  package init(_ reason: Reason, _ detail: String) {
    self.reason = reason
    self.detail = detail
  }
}

/// The claims of a token that was verified.
package struct VerifiedClaims: Sendable {
  package let userID: String
  package let role: Role
  package let issuedAt: NumericDate
  package let expiresAt: NumericDate
  /// All claims, in the order of the token.
  package let all: [JSON.Member]
}

/// Seconds since 1970, possibly with a fraction (RFC 7519 section 2).
package struct NumericDate: Sendable {
  package let seconds: Double

  /// Nil when `value` is no finite JSON number.
  package init?(_ value: JSON) {
    guard case .number(let text) = value, let seconds = Double(text), seconds.isFinite else {
      return nil
    }
    self.seconds = seconds
  }

  /// Whether it is in the years 0 to 9999, which RFC 3339 can write.
  package var isInCalendar: Bool { (-62_167_219_200..<253_402_300_800).contains(seconds) }

  /// When it is, in words: `at 2026-11-23T18:17:00Z`.
  package var when: String {
    isInCalendar
      ? "at \(instant.rfc3339)" : seconds < 0 ? "before the year 0" : "after the year 9999"
  }

  /// The same as an instant; dates beyond some 250,000 years are brought back to that bound.
  package var instant: Instant {
    let bound = 8e18
    return Instant(microseconds: Int64(min(max(seconds * 1e6, -bound), bound)))
  }
}

/// Decides whether a token is to be believed, in the order in which an attacker is best refused:
/// form, algorithm, signature, and only then what the claims say.
package struct Verifier {
  private let signer: any Signer

  package init(_ signer: any Signer) { self.signer = signer }

  /// The claims of `text` if its signature, its required claims, its times at `now`, and its role
  /// hold. The algorithm is the key's: none is taken from the token (RFC 8725 section 3.1).
  package func verify(
    _ text: [UInt8], at now: Instant, requiredRole: Role = .viewer
  ) throws(Refusal) -> VerifiedClaims {
    let token = try CompactToken(parsing: text)
    try checkHeader(token.header)
    do {
      guard try signer.verifies(token.signature, of: token.signingInput) else {
        throw Refusal(.signature, "signed with another key, or changed since")
      }
    } catch let refusal as Refusal {
      throw refusal
    } catch {
      throw Refusal(.signature, "the signature could not be checked: \(error)")
    }
    let claims = try readClaims(token.claims)
    try checkTimes(claims, token.claims["nbf"], at: now)
    guard claims.role >= requiredRole else {
      throw Refusal(
        .role, "the role is \(claims.role.rawValue), \(requiredRole.rawValue) is required")
    }
    return claims
  }

  private func checkHeader(_ header: JSON) throws(Refusal) {
    guard header["crit"] == nil, header["b64"] == nil else {
      throw Refusal(
        .malformed, "the header asks for an extension (crit, b64) that jotd does not know")
    }
    let expected = signer.algorithm.rawValue
    guard case .string(let name)? = header["alg"] else {
      throw Refusal(.algorithm, "the header names no algorithm, \(expected) is required")
    }
    guard name.utf8.elementsEqual(expected.utf8) else {
      let lettersAndDigits = Set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789".utf8)
      let shown = name.utf8.count <= 16 && name.utf8.allSatisfy(lettersAndDigits.contains)
      throw Refusal(
        .algorithm, "\(expected) is required, the header says \(shown ? name : "something else")")
    }
  }

  private func readClaims(_ claims: JSON) throws(Refusal) -> VerifiedClaims {
    guard case .object(let members) = claims else {
      throw Refusal(.malformed, "the claims set is not a JSON object")
    }
    for name in ClaimsTemplate.reserved where claims[name] == nil {
      throw Refusal(.missingClaim, "the claim \(name) is missing")
    }
    guard case .string(let userID)? = claims["user_id"] else {
      throw Refusal(.malformed, "the claim user_id is not a string")
    }
    guard let issuedAt = NumericDate(claims["iat"]!) else {
      throw Refusal(.malformed, "the claim iat is not a number")
    }
    guard let expiresAt = NumericDate(claims["exp"]!) else {
      throw Refusal(.malformed, "the claim exp is not a number")
    }
    guard case .string(let name)? = claims["role"], let role = Role(rawValue: name),
      name.utf8.elementsEqual(role.rawValue.utf8)
    else {
      throw Refusal(.role, "the role is none of viewer, operator, admin")
    }
    return VerifiedClaims(
      userID: userID, role: role, issuedAt: issuedAt, expiresAt: expiresAt, all: members)
  }

  private func checkTimes(
    _ claims: VerifiedClaims, _ notBefore: JSON?, at now: Instant
  ) throws(Refusal) {
    let seconds = Double(now.microseconds) / 1e6
    guard seconds < claims.expiresAt.seconds else {
      let end = claims.expiresAt
      let ago = end.isInCalendar ? "\((now - end.instant).approximate) ago, " : ""
      throw Refusal(.expired, "expired \(ago)\(end.when)")
    }
    guard claims.issuedAt.seconds <= seconds else {
      throw Refusal(
        .notYetValid, "issued in the future, \(claims.issuedAt.when)")
    }
    guard let notBefore else { return }
    guard let begin = NumericDate(notBefore) else {
      throw Refusal(.malformed, "the claim nbf is not a number")
    }
    guard begin.seconds <= seconds else {
      throw Refusal(
        .notYetValid,
        begin.isInCalendar
          ? "valid from \(begin.instant.rfc3339) on (nbf)" : "valid \(begin.when) (nbf)")
    }
  }
}
