/// A JWS in compact serialization taken apart (RFC 7515 section 7.1): well formed, not verified.
package struct CompactToken: Sendable {
  package let header: JSON
  package let claims: JSON
  /// The bytes of the claims set, as it was signed.
  package let payload: [UInt8]
  package let signature: [UInt8]
  /// What the signature is over: the first two parts and the period between them.
  package let signingInput: [UInt8]

  /// Takes `text` apart; throws `.malformed` with the reason.
  package init(parsing text: [UInt8]) throws(VerificationError) {
    guard !text.isEmpty else { throw VerificationError(.malformed, "there is no token") }
    guard text.count <= Limits.tokenBytes else {
      throw VerificationError(.malformed, "longer than \(Limits.tokenBytes) bytes")
    }
    let parts = text.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard parts.count == 3 else {
      let hint = parts.count == 5 ? ": five make an encrypted token (JWE)" : ""
      throw VerificationError(
        .malformed,
        "a signed token has three parts with periods between, this has \(parts.count)\(hint)")
    }
    header = try CompactToken.object(CompactToken.bytes(parts[0], "header"), "header")
    payload = try CompactToken.bytes(parts[1], "claims set")
    claims = try CompactToken.object(payload, "claims set")
    guard let signature = Base64URL.decode(parts[2]) else {
      throw VerificationError(.malformed, "the signature is not base64url")
    }
    self.signature = signature
    signingInput = Array(text[..<parts[1].endIndex])
  }

  private static func bytes(
    _ part: ArraySlice<UInt8>, _ name: String
  ) throws(VerificationError) -> [UInt8] {
    guard let bytes = Base64URL.decode(part) else {
      throw VerificationError(.malformed, "the \(name) is not base64url")
    }
    return bytes
  }

  private static func object(_ bytes: [UInt8], _ name: String) throws(VerificationError) -> JSON {
    let value: JSON
    do { value = try JSON(parsing: bytes) } catch {
      throw VerificationError(.malformed, "the \(name) is not acceptable JSON: \(error)")
    }
    guard case .object = value else {
      throw VerificationError(.malformed, "the \(name) is not a JSON object")
    }
    return value
  }
}
