/// Decides whether a token is to be believed, in the order in which an attacker is best refused:
/// form, algorithm, signature, and only then what the claims say.
package struct Verifier {
  private let keys: [Key]
  /// Of others, by whatever names they have.
  private let published: [any SignatureVerifier]

  private struct Candidate {
    let key: String
    let signer: any SignatureVerifier
  }

  /// Believes what one of `keys` signed; only the one of this name, if there is one.
  package init(_ keys: Keys, key name: String? = nil) {
    self.keys = keys.all.filter { name == nil || $0.name == name }
    published = []
  }

  /// Believes what one of these verifies.
  package init(_ published: [any SignatureVerifier]) {
    keys = []
    self.published = published
  }

  /// The claims of `text` if its signature, its required claims, its times at `now`, and the role
  /// that is required, if one is, hold. The algorithm is the key's: none is taken from the token
  /// (RFC 8725 section 3.1).
  package func verify(
    _ text: [UInt8], at now: Instant, requiredRole: Role? = nil
  ) throws(VerificationError) -> VerifiedClaims {
    let token = try CompactToken(parsing: text)
    let key = try checkSignature(token, try candidates(for: token.header, at: now))
    let claims = try readClaims(token.claims, key)
    try checkTimes(claims, token.claims["nbf"], at: now)
    try checkRole(claims.bearer, requiredRole)
    return claims
  }

  private func checkRole(_ bearer: Bearer, _ required: Role?) throws(VerificationError) {
    guard let required else { return }
    guard let role = bearer.role else {
      throw VerificationError(.role, "it has no role, \(required.rawValue) is required")
    }
    guard role >= required else {
      throw VerificationError(
        .role, "the role is \(role.rawValue), \(required.rawValue) is required")
    }
  }

  /// What can have signed a token with this header: the signers of its algorithm, first those that
  /// sign now. A key that the header names is not asked for: each of ours is believed.
  private func candidates(
    for header: JSON, at now: Instant
  ) throws(VerificationError) -> [Candidate] {
    guard header["crit"] == nil, header["b64"] == nil else {
      throw VerificationError(
        .malformed, "the header asks for an extension (crit, b64) that jotd does not know")
    }
    let all =
      keys.compactMap { key in
        key.signing.map { Candidate(key: key.name, signer: $0) }
      }
      + keys.flatMap { key in
        key.others(at: now).map { Candidate(key: key.name, signer: $0) }
      } + published.map { Candidate(key: $0.kid ?? "", signer: $0) }
    let algorithms = Algorithm.allCases.filter { algorithm in
      all.contains { $0.signer.algorithm == algorithm }
    }
    let expected = algorithms.map(\.rawValue).joined(separator: " or ")
    guard case .string(let name)? = header["alg"] else {
      throw VerificationError(.algorithm, "the header names no algorithm, \(expected) is required")
    }
    guard let algorithm = algorithms.first(where: { name.utf8.elementsEqual($0.rawValue.utf8) })
    else {
      let lettersAndDigits = Set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789".utf8)
      let shown = name.utf8.count <= 16 && name.utf8.allSatisfy(lettersAndDigits.contains)
      throw VerificationError(
        .algorithm, "\(expected) is required, the header says \(shown ? name : "something else")")
    }
    return all.filter { $0.signer.algorithm == algorithm }
  }

  /// The name of the key of the one that signed `token`.
  private func checkSignature(
    _ token: CompactToken, _ candidates: [Candidate]
  ) throws(VerificationError) -> String {
    do throws(Failure) {
      for candidate in candidates
      where try candidate.signer.verifies(token.signature, of: token.signingInput) {
        return candidate.key
      }
    } catch { throw VerificationError(.signature, "the signature could not be checked: \(error)") }
    throw VerificationError(.signature, "signed with another key, or changed since")
  }

  private func readClaims(_ claims: JSON, _ key: String) throws(VerificationError) -> VerifiedClaims
  {
    guard case .object(let members) = claims else {
      throw VerificationError(.malformed, "the claims set is not a JSON object")
    }
    // A token of a subject has neither of the two.
    let isOfSubject = claims["user_id"] == nil && claims["role"] == nil && claims["sub"] != nil
    for name in isOfSubject ? ["iat", "exp"] : TokenTemplate.reserved where claims[name] == nil {
      throw VerificationError(.missingClaim, "the claim \(name) is missing")
    }
    guard let issuedAt = NumericDate(claims["iat"]!) else {
      throw VerificationError(.malformed, "the claim iat is not a number")
    }
    guard let expiresAt = NumericDate(claims["exp"]!) else {
      throw VerificationError(.malformed, "the claim exp is not a number")
    }
    let bearer = try isOfSubject ? readSubject(claims) : readUser(claims)
    return VerifiedClaims(
      key: key, bearer: bearer, issuedAt: issuedAt, expiresAt: expiresAt, all: members)
  }

  private func readUser(_ claims: JSON) throws(VerificationError) -> Bearer {
    guard case .string(let id)? = claims["user_id"] else {
      throw VerificationError(.malformed, "the claim user_id is not a string")
    }
    guard case .string(let name)? = claims["role"], let role = Role(rawValue: name),
      name.utf8.elementsEqual(role.rawValue.utf8)
    else {
      throw VerificationError(.role, "the role is none of viewer, operator, admin")
    }
    return .user(ByteString(id), role)
  }

  private func readSubject(_ claims: JSON) throws(VerificationError) -> Bearer {
    guard case .string(let subject)? = claims["sub"] else {
      throw VerificationError(.malformed, "the claim sub is not a string")
    }
    return .subject(ByteString(subject))
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
