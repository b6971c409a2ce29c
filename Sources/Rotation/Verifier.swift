/// Decides whether a token is to be believed, in the order in which an attacker is best refused:
/// form, algorithm, signature, and only then what the claims say.
package struct Verifier {
  private let keys: Keys

  package init(_ keys: Keys) { self.keys = keys }

  /// The claims of `text` if its signature, its required claims, its times at `now`, and its role
  /// hold. The algorithm is the key's: none is taken from the token (RFC 8725 section 3.1).
  package func verify(
    _ text: [UInt8], at now: Instant, requiredRole: Role = .viewer
  ) throws(VerificationError) -> VerifiedClaims {
    let token = try CompactToken(parsing: text)
    try checkHeader(token.header)
    try checkSignature(token)
    let claims = try readClaims(token.claims)
    try checkTimes(claims, token.claims["nbf"], at: now)
    guard claims.role >= requiredRole else {
      throw VerificationError(
        .role, "the role is \(claims.role.rawValue), \(requiredRole.rawValue) is required")
    }
    return claims
  }

  /// Throws unless a key of ours can have signed a token with this header.
  func checkHeader(_ header: JSON) throws(VerificationError) {
    guard header["crit"] == nil, header["b64"] == nil else {
      throw VerificationError(
        .malformed, "the header asks for an extension (crit, b64) that jotd does not know")
    }
    let expected = keys.signing.algorithm.rawValue
    guard case .string(let name)? = header["alg"] else {
      throw VerificationError(.algorithm, "the header names no algorithm, \(expected) is required")
    }
    guard name.utf8.elementsEqual(expected.utf8) else {
      let lettersAndDigits = Set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789".utf8)
      let shown = name.utf8.count <= 16 && name.utf8.allSatisfy(lettersAndDigits.contains)
      throw VerificationError(
        .algorithm, "\(expected) is required, the header says \(shown ? name : "something else")")
    }
  }

  /// Throws unless a key of ours signed `token`.
  func checkSignature(_ token: CompactToken) throws(VerificationError) {
    do throws(Failure) {
      for key in keys.verifying
      where try key.verifies(token.signature, of: token.signingInput) { return }
    } catch { throw VerificationError(.signature, "the signature could not be checked: \(error)") }
    throw VerificationError(.signature, "signed with another key, or changed since")
  }

  private func readClaims(_ claims: JSON) throws(VerificationError) -> VerifiedClaims {
    guard case .object(let members) = claims else {
      throw VerificationError(.malformed, "the claims set is not a JSON object")
    }
    for name in ClaimsTemplate.reserved where claims[name] == nil {
      throw VerificationError(.missingClaim, "the claim \(name) is missing")
    }
    guard case .string(let userID)? = claims["user_id"] else {
      throw VerificationError(.malformed, "the claim user_id is not a string")
    }
    guard let issuedAt = NumericDate(claims["iat"]!) else {
      throw VerificationError(.malformed, "the claim iat is not a number")
    }
    guard let expiresAt = NumericDate(claims["exp"]!) else {
      throw VerificationError(.malformed, "the claim exp is not a number")
    }
    guard case .string(let name)? = claims["role"], let role = Role(rawValue: name),
      name.utf8.elementsEqual(role.rawValue.utf8)
    else {
      throw VerificationError(.role, "the role is none of viewer, operator, admin")
    }
    return VerifiedClaims(
      userID: userID, role: role, issuedAt: issuedAt, expiresAt: expiresAt, all: members)
  }

  private func checkTimes(
    _ claims: VerifiedClaims, _ notBefore: JSON?, at now: Instant
  ) throws(VerificationError) {
    let seconds = Double(now.microseconds) / 1e6
    guard seconds < claims.expiresAt.seconds else {
      let end = claims.expiresAt
      let ago = end.isInCalendar ? "\((now - end.instant).approximate) ago, " : ""
      throw VerificationError(.expired, "expired \(ago)\(end.when)")
    }
    guard claims.issuedAt.seconds <= seconds else {
      throw VerificationError(
        .notYetValid, "issued in the future, \(claims.issuedAt.when)")
    }
    guard let notBefore else { return }
    guard let begin = NumericDate(notBefore) else {
      throw VerificationError(.malformed, "the claim nbf is not a number")
    }
    guard begin.seconds <= seconds else {
      throw VerificationError(
        .notYetValid,
        begin.isInCalendar
          ? "valid from \(begin.instant.rfc3339) on (nbf)" : "valid \(begin.when) (nbf)")
    }
  }
}
