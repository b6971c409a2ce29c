/// The claims of a token that was verified.
package struct VerifiedClaims: Sendable {
  package let bearer: Bearer
  package let issuedAt: NumericDate
  package let expiresAt: NumericDate
  /// All claims, in the order of the token.
  package let all: [JSON.Member]
}
