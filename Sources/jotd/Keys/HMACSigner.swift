import CKeyMemory
import COpenSSL
import Rotation
import Synchronization

/// HMAC (RFC 2104, FIPS 198-1) by OpenSSL's EVP_MAC(3). The key is scheduled once, in the secure
/// heap; each signature starts again from that state.
final class HMACSigner: Signer {
  let algorithm: Algorithm
  let kid: String?
  let keyID: KeyID
  let publicKey: PublicKey? = nil
  var signatureBytes: Int { algorithm.hashBytes }
  /// One context, so one signature at a time.
  private let context: Mutex<Context>

  /// Schedules `secret` for `algorithm`; its tokens name it `kid`.
  init(_ secret: Secret, _ algorithm: Algorithm, kid: String?) throws(Failure) {
    var context = try Context(secret, algorithm)
    var fingerprint: [UInt8] = []
    try context.mac(Array("jotd key id".utf8), algorithm.hashBytes, &fingerprint)
    self.algorithm = algorithm
    self.kid = kid
    keyID = KeyID(of: fingerprint, kid: kid)
    self.context = Mutex(context)
  }

  func sign(_ message: [UInt8], into signature: inout [UInt8]) throws(Failure) {
    try context.withLock { context throws(Failure) in
      try context.mac(message, algorithm.hashBytes, &signature)
    }
  }

  func verifies(_ signature: [UInt8], of message: [UInt8]) throws(Failure) -> Bool {
    var expected: [UInt8] = []
    try sign(message, into: &expected)
    // The length is no secret; the bytes are.
    guard signature.count == expected.count else { return false }
    return unsafe CRYPTO_memcmp(signature, expected, expected.count) == 0
  }

}

/// An EVP_MAC_CTX that it alone owns.
@safe private struct Context: ~Copyable {
  private let pointer: OpaquePointer

  init(_ secret: Secret, _ algorithm: Algorithm) throws(Failure) {
    unsafe pointer = try Context.schedule(secret, algorithm)
  }

  private static func schedule(
    _ secret: Secret, _ algorithm: Algorithm
  ) throws(Failure) -> OpaquePointer {
    guard let mac = unsafe EVP_MAC_fetch(nil, "HMAC", nil) else { throw failure("HMAC") }
    defer { unsafe EVP_MAC_free(mac) }
    var digest =
      switch algorithm {
      case .hs256: "SHA256".utf8CString.map(\.self)
      case .hs384: "SHA384".utf8CString.map(\.self)
      case .hs512: "SHA512".utf8CString.map(\.self)
      default: throw Failure("\(algorithm.rawValue) is not HMAC")
      }
    // The context copies the key: into the secure heap too.
    keymemory_enter()
    defer { keymemory_leave() }
    guard let new = unsafe EVP_MAC_CTX_new(mac) else { throw failure("EVP_MAC_CTX_new") }
    let status = unsafe secret.withBytes { key in
      unsafe jotd_hmac_init(new, key.baseAddress, key.count, &digest)
    }
    guard status == 1 else {
      unsafe EVP_MAC_CTX_free(new)
      throw failure("EVP_MAC_init")
    }
    return unsafe new
  }

  deinit { unsafe EVP_MAC_CTX_free(pointer) }

  /// Replaces `output` with the MAC of `message`, which has `count` bytes.
  mutating func mac(
    _ message: [UInt8], _ count: Int, _ output: inout [UInt8]
  ) throws(Failure) {
    if output.count != count { output = [UInt8](repeating: 0, count: count) }
    var length = 0
    // Without a key, EVP_MAC_init(3) starts again with the one it has.
    guard unsafe EVP_MAC_init(pointer, nil, 0, nil) == 1,
      unsafe EVP_MAC_update(pointer, message, message.count) == 1,
      unsafe EVP_MAC_final(pointer, &output, &length, count) == 1, length == count
    else { throw Context.failure("EVP_MAC") }
  }

  private static func failure(_ call: String) -> Failure {
    Failure("OpenSSL could not sign (\(call) failed): is it out of memory?")
  }
}
