import Rotation
import Synchronization

/// Signs with a private key: ECDSA, RSASSA-PKCS1-v1_5 and RSASSA-PSS of RFC 7518 sections 3.3 to
/// 3.5, and EdDSA of RFC 8037.
final class PrivateKeySigner: Signer {
  let algorithm: Algorithm
  let kid: String?
  let keyID: KeyID
  let signatureBytes: Int
  let publicKey: PublicKey?
  /// One context, so one signature at a time.
  private let context: Mutex<SignatureContext>

  /// Signs by `algorithm` with `key`; `kid` is what its tokens name it, nil for its thumbprint (RFC
  /// 7638). Throws why the key is not one for that.
  init(_ key: OpenSSLKey, _ algorithm: Algorithm, kid: String?) throws(Failure) {
    if let fault = key.publicKey.fault(for: algorithm) { throw Failure(fault) }
    self.algorithm = algorithm
    (self.kid, keyID) = try key.publicKey.names(for: algorithm, kid: kid)
    publicKey = key.publicKey
    var context = try SignatureContext(key, algorithm)
    guard try context.proves() else { throw PrivateKeySigner.mismatch }
    signatureBytes = context.signatureBytes
    self.context = Mutex(context)
  }

  /// The same with the key that `encoded` has, in PEM, DER or JWK, which `passphrase` opens if that
  /// is needed; a JWK may name itself. Throws what is wrong with it.
  convenience init(
    reading encoded: Secret, _ algorithm: Algorithm, kid: String? = nil, passphrase: Secret? = nil
  ) throws(Failure) {
    let key: OpenSSLKey
    var own: String?
    if PrivateJWK.isLikely(encoded) {
      let jwk = try PrivateJWK(parsing: encoded, for: algorithm, isNamed: kid != nil)
      // Its form is right: what libcrypto does not take then are the numbers.
      do { key = try OpenSSLKey(decoding: jwk.der, passphrase: nil) } catch {
        throw error.code == 0 ? PrivateKeySigner.mismatch : error
      }
      guard key.publicKey == jwk.publicKey else { throw PrivateKeySigner.mismatch }
      own = jwk.kid
    } else {
      key = try OpenSSLKey(decoding: encoded, passphrase: passphrase)
    }
    try self.init(key, algorithm, kid: kid ?? own)
  }

  private static let mismatch = Failure("its parts do not belong together")

  func sign(_ message: [UInt8], into signature: inout [UInt8]) throws(Failure) {
    try context.withLock { context throws(Failure) in
      try context.sign(message, into: &signature)
    }
  }

  func verifies(_ signature: [UInt8], of message: [UInt8]) throws(Failure) -> Bool {
    try context.withLock { context throws(Failure) in
      try context.verifies(signature, of: message)
    }
  }
}

extension PublicKey {
  /// What tokens of `algorithm` name this key, `kid` or its thumbprint (RFC 7638); and what tells
  /// it from others.
  func names(for algorithm: Algorithm, kid: String?) throws(Failure) -> (kid: String, id: KeyID) {
    let input = thumbprintInput
    guard let thumbprint = Digest.sha256(input),
      let print = Digest.sha256(Array(algorithm.rawValue.utf8) + input)
    else { throw Failure("OpenSSL could not hash: is it out of memory?") }
    return (kid ?? Base64URL.text(thumbprint), KeyID(of: print, kid: kid))
  }
}
