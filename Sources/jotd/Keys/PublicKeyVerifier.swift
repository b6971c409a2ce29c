import Rotation
import Synchronization

/// Verifies by a public key alone.
final class PublicKeyVerifier: SignatureVerifier {
  let algorithm: Algorithm
  let kid: String?
  let publicKey: PublicKey?
  /// Bytes of each signature.
  let signatureBytes: Int
  /// One context, so one signature at a time.
  private let context: Mutex<SignatureContext>

  /// Verifies `algorithm` by `key`, which tokens name `kid`. Throws why the key is not one for it.
  init(_ key: PublicKey, _ algorithm: Algorithm, kid: String?) throws(Failure) {
    if let fault = key.fault(for: algorithm) { throw Failure(fault) }
    self.algorithm = algorithm
    self.kid = kid
    publicKey = key
    let context = try SignatureContext(OpenSSLKey(key), algorithm)
    signatureBytes = context.signatureBytes
    self.context = Mutex(context)
  }

  func verifies(_ signature: [UInt8], of message: [UInt8]) throws(Failure) -> Bool {
    try context.withLock { context throws(Failure) in
      try context.verifies(signature, of: message)
    }
  }
}
