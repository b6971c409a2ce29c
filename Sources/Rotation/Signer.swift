/// The HMAC algorithms of RFC 7518 section 3.2, by their registered names.
package enum Algorithm: String, CaseIterable, Sendable {
  case hs256 = "HS256"
  case hs384 = "HS384"
  case hs512 = "HS512"

  /// Bytes of the hash, of the signature, and the least that a key must have.
  package var hashBytes: Int {
    switch self {
    case .hs256: 32
    case .hs384: 48
    case .hs512: 64
    }
  }
}

/// Tells one key from another in logs and decisions, and says nothing else about it.
package struct KeyID: Hashable, Sendable, CustomStringConvertible {
  package let description: String

  package init(_ description: String) { self.description = description }
}

/// The seam to cryptography: holds one key of one algorithm.
package protocol Signer: Sendable {
  var algorithm: Algorithm { get }
  var keyID: KeyID { get }

  /// Replaces `signature` with the MAC of `message`, `algorithm.hashBytes` long.
  func sign(_ message: [UInt8], into signature: inout [UInt8]) throws(Failure)

  /// Whether `signature` is the MAC of `message`, compared in constant time.
  func verifies(_ signature: [UInt8], of message: [UInt8]) throws(Failure) -> Bool
}

/// Why something outside the core could not be done.
package struct Failure: Error, Equatable, Sendable, CustomStringConvertible {
  /// errno(3), or 0 when no system call failed.
  package let code: Int32
  /// What is wrong, where, and what to do about it. Never token or secret bytes.
  package let description: String

  package init(_ description: String, code: Int32 = 0) {
    self.code = code
    self.description = description
  }
}
