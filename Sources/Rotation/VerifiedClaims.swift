/// The claims of a token that was verified.
package struct VerifiedClaims: Sendable {
  /// The name of the key that it is signed with.
  package let key: String
  package let bearer: Bearer
  package let issuedAt: NumericDate
  package let expiresAt: NumericDate
  /// All claims, in the order of the token.
  package let all: [JSON.Member]

  /// `exp - iat`. Each may stand at an end of what 64 bits hold; a `Duration` has 128.
  package var lifetime: Duration {
    .microseconds(expiresAt.instant.microseconds) - .microseconds(issuedAt.instant.microseconds)
  }
}
