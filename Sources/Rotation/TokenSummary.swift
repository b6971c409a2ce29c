/// What may be known of a token.
package struct TokenSummary: Sendable {
  package let identity: String
  package let userID: String
  package let role: Role
  package let expiresAt: Instant
  package let refreshAt: Instant
  package let origin: Token.Origin

  init(_ token: Token, of identity: Identity) {
    self.identity = identity.name
    userID = identity.userID
    role = identity.role
    expiresAt = token.expiresAt
    refreshAt = identity.due(token)
    origin = token.origin
  }
}
