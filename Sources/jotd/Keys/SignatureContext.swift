import CKeyMemory
import COpenSSL
import Rotation

/// What libcrypto signs and verifies with, ready for one message after the other.
@safe struct SignatureContext: ~Copyable {
  private let key: OpenSSLKey
  private let kind: Algorithm.KeyKind
  private let hash: OpaquePointer
  private let operations: Operations
  let signatureBytes: Int
  /// Reused from message to message; DER has a few bytes around the two numbers of ECDSA.
  private var hashed: [UInt8]
  private var der: [UInt8]

  @safe private enum Operations {
    /// Two EVP_PKEY_CTX, for hashes: EVP_PKEY_sign(3) can be called again and again.
    case ofHash(signing: OpaquePointer, verifying: OpaquePointer)
    /// EdDSA hashes the message itself, twice: an EVP_MD_CTX.
    case ofMessage(OpaquePointer)
  }

  /// For `algorithm`, which must be one for that key.
  init(_ key: OpenSSLKey, _ algorithm: Algorithm) throws(Failure) {
    self.key = key
    kind = algorithm.keyKind
    hashed = [UInt8](repeating: 0, count: algorithm.hashBytes)
    unsafe hash = unsafe algorithm.hashBytes == 48 ? EVP_sha384() : EVP_sha256()
    switch key.publicKey {
    case .ec(let curve, _, _): signatureBytes = 2 * curve.bytes
    case .rsa(let modulus, _): signatureBytes = modulus.count
    case .ed25519: signatureBytes = 64
    }
    der = [UInt8](repeating: 0, count: signatureBytes + 16)
    if case .ed25519 = key.publicKey {
      guard let context = unsafe EVP_MD_CTX_new() else {
        throw SignatureContext.failure("EVP_MD_CTX_new")
      }
      operations = unsafe .ofMessage(context)
      return
    }
    let isPSS = algorithm == .ps256
    let signing = try unsafe SignatureContext.make(key, hash, isPSS: isPSS, EVP_PKEY_sign_init)
    do throws(Failure) {
      operations = unsafe .ofHash(
        signing: signing,
        verifying: try SignatureContext.make(key, hash, isPSS: isPSS, EVP_PKEY_verify_init))
    } catch {
      unsafe EVP_PKEY_CTX_free(signing)
      throw error
    }
  }

  private static func make(
    _ key: OpenSSLKey, _ hash: OpaquePointer, isPSS: Bool, _ begin: (OpaquePointer?) -> CInt
  ) throws(Failure) -> OpaquePointer {
    guard let context = unsafe EVP_PKEY_CTX_new_from_pkey(nil, key.pointer, nil) else {
      throw failure("EVP_PKEY_CTX_new_from_pkey")
    }
    // RFC 7518 section 3.5: the salt is as long as the hash, which MGF1 takes, too.
    guard unsafe begin(context) == 1,
      unsafe !isPSS || EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1,
      unsafe EVP_PKEY_CTX_set_signature_md(context, hash) == 1,
      unsafe !isPSS || EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1
    else {
      unsafe EVP_PKEY_CTX_free(context)
      throw failure("EVP_PKEY_sign_init")
    }
    return unsafe context
  }

  deinit {
    switch operations {
    case .ofHash(let signing, let verifying):
      unsafe EVP_PKEY_CTX_free(signing)
      unsafe EVP_PKEY_CTX_free(verifying)
    case .ofMessage(let context): unsafe EVP_MD_CTX_free(context)
    }
  }

  /// Whether all parts of the key belong together. Signs once, so that what libcrypto makes of the
  /// private ones at their first use is in the secure heap.
  mutating func proves() throws(Failure) -> Bool {
    let message = Array("jotd key id".utf8)
    var signature: [UInt8] = []
    defer { ERR_clear_error() }
    guard let check = unsafe EVP_PKEY_CTX_new_from_pkey(nil, key.pointer, nil) else {
      throw SignatureContext.failure("EVP_PKEY_CTX_new_from_pkey")
    }
    defer { unsafe EVP_PKEY_CTX_free(check) }
    keymemory_wipe()
    defer { keymemory_leave() }
    guard unsafe EVP_PKEY_check(check) == 1 else {
      if SignatureContext.ranOutOfMemory { throw SignatureContext.failure("EVP_PKEY_check") }
      return false
    }
    keymemory_enter()
    try sign(message, into: &signature)
    return try verifies(signature, of: message)
  }

  /// See `Signer`; throws with a public half alone.
  mutating func sign(_ message: [UInt8], into signature: inout [UInt8]) throws(Failure) {
    if signature.count != signatureBytes {
      signature = [UInt8](repeating: 0, count: signatureBytes)
    }
    var length = signatureBytes
    switch operations {
    case .ofMessage(let context):
      guard unsafe EVP_DigestSignInit(context, nil, nil, nil, key.pointer) == 1,
        unsafe EVP_DigestSign(context, &signature, &length, message, message.count) == 1,
        length == signatureBytes
      else { throw SignatureContext.failure("EVP_DigestSign") }
    case .ofHash(let context, _):
      try digest(message)
      guard case .ec(let curve) = kind else {
        guard unsafe EVP_PKEY_sign(context, &signature, &length, hashed, hashed.count) == 1,
          length == signatureBytes
        else { throw SignatureContext.failure("EVP_PKEY_sign") }
        return
      }
      length = der.count
      guard unsafe EVP_PKEY_sign(context, &der, &length, hashed, hashed.count) == 1,
        unsafe jotd_ecdsa_raw(der, length, &signature, Int32(curve.bytes)) == 1
      else { throw SignatureContext.failure("EVP_PKEY_sign") }
    }
  }

  /// See `SignatureVerifier`.
  mutating func verifies(_ signature: [UInt8], of message: [UInt8]) throws(Failure) -> Bool {
    guard signature.count == signatureBytes else { return false }
    defer { ERR_clear_error() }
    let status: CInt
    switch operations {
    case .ofMessage(let context):
      guard unsafe EVP_DigestVerifyInit(context, nil, nil, nil, key.pointer) == 1 else {
        throw SignatureContext.failure("EVP_DigestVerifyInit")
      }
      status = unsafe EVP_DigestVerify(
        context, signature, signature.count, message, message.count)
    case .ofHash(_, let context):
      try digest(message)
      if case .ec(let curve) = kind {
        let length = unsafe jotd_ecdsa_der(signature, Int32(curve.bytes), &der)
        guard length > 0 else { throw SignatureContext.failure("ECDSA_SIG") }
        status = unsafe EVP_PKEY_verify(context, der, Int(length), hashed, hashed.count)
      } else {
        status = unsafe EVP_PKEY_verify(
          context, signature, signature.count, hashed, hashed.count)
      }
    }
    if status == 1 { return true }
    // A signature that is no number below the order is as wrong as any other; one that could not be
    // looked at is not.
    if SignatureContext.ranOutOfMemory {
      throw SignatureContext.failure("EVP_PKEY_verify")
    }
    return false
  }

  /// Puts the hash of `message` into `hashed`.
  private mutating func digest(_ message: [UInt8]) throws(Failure) {
    guard unsafe EVP_Digest(message, message.count, &hashed, nil, hash, nil) == 1 else {
      throw SignatureContext.failure("EVP_Digest")
    }
  }

  /// Whether that is among what libcrypto says went wrong last.
  private static var ranOutOfMemory: Bool {
    var error = ERR_get_error()
    while error != 0 {
      if ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE { return true }
      error = ERR_get_error()
    }
    return false
  }

  private static func failure(_ call: String) -> Failure {
    ERR_clear_error()
    return Failure("OpenSSL could not sign (\(call) failed): is it out of memory?")
  }
}
