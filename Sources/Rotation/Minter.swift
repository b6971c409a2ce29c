/// Makes tokens. Deterministic: the same claims, times and key give the same bytes.
package struct Minter {
  /// Reused from token to token.
  private var claims: [UInt8] = []
  private var signature: [UInt8] = []

  package init() {}

  /// A token issued at the whole second of `now`, so never in the future of a verifier that
  /// shares the clock. `lifetime` is in whole seconds.
  package mutating func mint(
    _ template: ClaimsTemplate, lifetime: Duration, at now: Instant, signer: any Signer
  ) throws(Failure) -> Token {
    let issuedAt = Instant(seconds: now.wholeSeconds)
    let expiresAt = issuedAt + lifetime
    claims.removeAll(keepingCapacity: true)
    template.append(issuedAt: issuedAt, expiresAt: expiresAt, to: &claims)
    var compact: [UInt8] = []
    compact.reserveCapacity(signer.algorithm.tokenBytes(claims: claims.count))
    compact += signer.algorithm.header
    Base64URL.append(claims, to: &compact)
    try signer.sign(compact, into: &signature)
    compact.append(UInt8(ascii: "."))
    Base64URL.append(signature, to: &compact)
    return Token(
      compact: compact, issuedAt: issuedAt, expiresAt: expiresAt, origin: .key(signer.keyID))
  }
}
