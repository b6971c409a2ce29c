@testable import Rotation

/// What readers find at a place, and what it says.
struct Held {
  let bytes: [UInt8]
  /// The user id, or the subject.
  let bearer: String
  let token: Token

  /// Nil for what is no token of this signer.
  init?(_ bytes: [UInt8], signedBy signer: SimulatedSigner) {
    guard let compact = try? CompactToken(parsing: bytes),
      (try? signer.verifies(compact.signature, of: compact.signingInput)) == true,
      case .string(let bearer)? = compact.claims["user_id"] ?? compact.claims["sub"],
      case .number(let issued)? = compact.claims["iat"],
      case .number(let expires)? = compact.claims["exp"]
    else { return nil }
    self.bytes = bytes
    self.bearer = bearer
    token = Token(
      compact: bytes, issuedAt: Instant(seconds: Int64(issued)!),
      expiresAt: Instant(seconds: Int64(expires)!), origin: .key(signer.keyID))
  }
}
