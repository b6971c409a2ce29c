/// Tells one key from another in logs and decisions, and says nothing else about it.
package struct KeyID: Hashable, Sendable, CustomStringConvertible {
  package let description: String

  package init(_ description: String) { self.description = description }
}

/// The seam to cryptography: holds one key of one algorithm.
package protocol Signer: Sendable {
  var algorithm: Algorithm { get }
  /// What its tokens name it in their header (RFC 7515 section 4.1.4); nil for no name.
  var kid: String? { get }
  /// Another one wherever new tokens would not be as before.
  var keyID: KeyID { get }

  /// Replaces `signature` with the MAC of `message`, `algorithm.hashBytes` long.
  func sign(_ message: [UInt8], into signature: inout [UInt8]) throws(Failure)

  /// Whether `signature` is the MAC of `message`, compared in constant time.
  func verifies(_ signature: [UInt8], of message: [UInt8]) throws(Failure) -> Bool
}
