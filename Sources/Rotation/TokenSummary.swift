/// What may be known of a token.
package struct TokenSummary: Sendable {
  package let identity: String
  package let bearer: Bearer
  package let expiresAt: Instant
  package let refreshAt: Instant
  package let origin: Token.Origin
  /// The claim `jti`, where each token of the identity has one.
  package let id: String?

  init(_ token: Token, of identity: Identity) {
    self.identity = identity.name
    bearer = identity.bearer
    expiresAt = token.expiresAt
    refreshAt = identity.due(token)
    origin = token.origin
    id =
      identity.template.hasID
      ? (try? CompactToken(parsing: token.compact)).flatMap { identity.template.id(in: $0.claims) }
      : nil
  }
}
