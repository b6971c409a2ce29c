/// A minted JWT (RFC 7519) in compact serialization (RFC 7515 section 3.1); or what a publication
/// has in its place, the text of a JWK Set.
///
/// Its bytes are what lets a client in: they go only to deliveries and to callers who may have
/// them, so a description shows none of them.
package struct Token: Sendable, CustomStringConvertible {
  package let compact: [UInt8]
  /// The moments of `iat` and `exp`: whole seconds. Of a JWK Set, 1970, and when it is to
  /// be made anew.
  package let issuedAt: Instant
  package let expiresAt: Instant
  package let origin: Origin

  /// Where a token comes from.
  package enum Origin: Hashable, Sendable, CustomStringConvertible {
    /// It was signed here, with this key.
    case key(KeyID)
    /// It is a JWK Set, and says what the keys are.
    case keys

    package var description: String {
      switch self {
      case .key(let key): key.description
      case .keys: "the keys"
      }
    }
  }

  package var description: String { "token of \(issuedAt.wholeSeconds), not shown" }
}
