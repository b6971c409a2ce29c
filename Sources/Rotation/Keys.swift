/// The keys of a host: a value that is replaced as a whole when the secret changes.
package struct Keys: Sendable {
  /// What new tokens are signed with.
  package let signing: any Signer
  /// What tokens may be signed with to be believed.
  package var verifying: [any Signer] { [signing] }

  package init(signing: any Signer) { self.signing = signing }

  /// Whether `token` was made as a new one would be.
  func areCurrent(for token: Token) -> Bool { token.origin == .key(signing.keyID) }
}
