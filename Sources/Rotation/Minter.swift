/// Makes tokens. The same template, times and key give the same bytes, but for the ids of tokens
/// and signatures that are randomised.
package struct Minter {
  /// Reused from token to token.
  private var claims: [UInt8] = []
  private var signature: [UInt8] = []

  package init() {}

  /// A token issued at the whole second of `now`, so never in the future of a verifier that
  /// shares the clock. `lifetime` is in whole seconds; `random` is for ids.
  package mutating func mint(
    _ template: TokenTemplate, lifetime: Duration, at now: Instant, signer: any Signer,
    random: inout some RandomNumberGenerator
  ) throws(Failure) -> Token {
    let (issuedAt, expiresAt) = Minter.times(lifetime, at: now)
    var compact = signingInput(
      template, issuedAt: issuedAt, expiresAt: expiresAt, signer: signer, random: &random)
    try signer.sign(compact, into: &signature)
    Minter.append(signature, to: &compact)
    return Token(
      compact: compact, issuedAt: issuedAt, expiresAt: expiresAt, origin: .key(signer.keyID))
  }

  /// The same, but for its signature.
  package mutating func draft(
    _ template: TokenTemplate, lifetime: Duration, at now: Instant, signer: any Signer,
    random: inout some RandomNumberGenerator
  ) -> Draft {
    let (issuedAt, expiresAt) = Minter.times(lifetime, at: now)
    return Draft(
      signingInput: signingInput(
        template, issuedAt: issuedAt, expiresAt: expiresAt, signer: signer, random: &random),
      issuedAt: issuedAt, expiresAt: expiresAt, signer: signer)
  }

  private static func times(
    _ lifetime: Duration, at now: Instant
  ) -> (issuedAt: Instant, expiresAt: Instant) {
    let issuedAt = Instant(seconds: now.wholeSeconds)
    return (issuedAt, issuedAt + lifetime)
  }

  /// Header and claims, with room for the signature behind them.
  private mutating func signingInput(
    _ template: TokenTemplate, issuedAt: Instant, expiresAt: Instant, signer: any Signer,
    random: inout some RandomNumberGenerator
  ) -> [UInt8] {
    claims.removeAll(keepingCapacity: true)
    template.append(
      TokenTemplate.Stamp(
        issuedAt: issuedAt, expiresAt: expiresAt, id: template.newID(&random)), to: &claims)
    var compact: [UInt8] = []
    let header = template.header(signer.algorithm, kid: signer.kid)
    compact.reserveCapacity(
      header.count
        + signer.algorithm.bytesAfterHeader(
          claims: claims.count, signature: signer.signatureBytes))
    compact += header
    Base64URL.append(claims, to: &compact)
    return compact
  }

  fileprivate static func append(_ signature: [UInt8], to compact: inout [UInt8]) {
    compact.append(UInt8(ascii: "."))
    Base64URL.append(signature, to: &compact)
  }
}

/// A token that is still to be signed.
package struct Draft: Sendable {
  /// Header and claims (RFC 7515 section 5.1).
  let signingInput: [UInt8]
  let issuedAt: Instant
  let expiresAt: Instant
  let signer: any Signer

  /// The token, with what `signer` made of `signingInput`.
  func signed(_ signature: [UInt8]) -> Token {
    var compact = signingInput
    Minter.append(signature, to: &compact)
    return Token(
      compact: compact, issuedAt: issuedAt, expiresAt: expiresAt, origin: .key(signer.keyID))
  }
}
