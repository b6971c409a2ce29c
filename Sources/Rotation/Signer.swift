/// Tells one key from another in logs and decisions, and says nothing else about it.
package struct KeyID: Hashable, Sendable, CustomStringConvertible {
  package let description: String

  package init(_ description: String) { self.description = description }
}

/// Half of the seam to cryptography: checks the signatures of one key of one algorithm.
package protocol SignatureVerifier: Sendable {
  var algorithm: Algorithm { get }
  /// What its tokens name it in their header (RFC 7515 section 4.1.4); nil for no name.
  var kid: String? { get }
  /// What verifies its tokens; nil where that takes the secret itself.
  var publicKey: PublicKey? { get }

  /// Whether `signature`, of any length, is one of `message`; a MAC is compared in constant time.
  func verifies(_ signature: [UInt8], of message: [UInt8]) throws(Failure) -> Bool
}

/// The other half: makes them, too.
package protocol Signer: SignatureVerifier {
  /// Another one wherever new tokens would not be as before.
  var keyID: KeyID { get }
  /// Bytes of each of its signatures.
  var signatureBytes: Int { get }
  /// Whether it signs outside of the process, so that `sign` waits for somebody.
  var isRemote: Bool { get }

  /// Replaces `signature` with that of `message` (RFC 7515 section 5.1). Two of one message may
  /// differ: ECDSA and RSASSA-PSS are randomised.
  func sign(_ message: [UInt8], into signature: inout [UInt8]) throws(Failure)
}

extension Signer {
  package var isRemote: Bool { false }
}
