import COpenSSL
import Rotation

/// HMAC (RFC 2104, FIPS 198-1) by OpenSSL's EVP_MAC(3): the key is scheduled once, and each
/// signature works on a copy of that state.
///
/// `@unchecked`: the context is a template that is only copied after `init`, and
/// EVP_MAC_CTX_dup(3) reads it.
@safe final class HMACSigner: Signer, @unchecked Sendable {
  let algorithm: Algorithm
  let keyID: KeyID
  private let template: OpaquePointer

  /// Schedules `secret` for `algorithm`.
  init(_ secret: Secret, _ algorithm: Algorithm) throws(Failure) {
    self.algorithm = algorithm
    unsafe template = try HMACSigner.context(secret, algorithm)
    var fingerprint: [UInt8] = []
    do {
      try unsafe HMACSigner.mac(template, Array("jotd key id".utf8), 64, &fingerprint)
    } catch {
      unsafe EVP_MAC_CTX_free(template)
      throw error
    }
    // 32 bits of a MAC: they tell keys apart and help nobody to guess one.
    keyID = KeyID(fingerprint.prefix(4).map(HMACSigner.hexadecimal).joined())
  }

  deinit { unsafe EVP_MAC_CTX_free(template) }

  func sign(_ message: [UInt8], into signature: inout [UInt8]) throws(Failure) {
    try unsafe HMACSigner.mac(template, message, algorithm.hashBytes, &signature)
  }

  func verifies(_ signature: [UInt8], of message: [UInt8]) throws(Failure) -> Bool {
    var expected: [UInt8] = []
    try sign(message, into: &expected)
    // The length is no secret; the bytes are.
    guard signature.count == expected.count else { return false }
    return unsafe CRYPTO_memcmp(signature, expected, expected.count) == 0
  }

  private static func context(
    _ secret: Secret, _ algorithm: Algorithm
  ) throws(Failure) -> OpaquePointer {
    guard let mac = unsafe EVP_MAC_fetch(nil, "HMAC", nil) else { throw failure("HMAC") }
    defer { unsafe EVP_MAC_free(mac) }
    guard let context = unsafe EVP_MAC_CTX_new(mac) else { throw failure("EVP_MAC_CTX_new") }
    let digest =
      switch algorithm {
      case .hs256: "SHA256"
      case .hs384: "SHA384"
      case .hs512: "SHA512"
      }
    var name = digest.utf8CString.map(\.self)
    let status = unsafe secret.withBytes { key in
      unsafe jotd_hmac_init(context, key.baseAddress, key.count, &name)
    }
    guard status == 1 else {
      unsafe EVP_MAC_CTX_free(context)
      throw failure("EVP_MAC_init")
    }
    return unsafe context
  }

  /// Replaces `output` with the MAC, which has at most `limit` bytes.
  private static func mac(
    _ template: OpaquePointer, _ message: [UInt8], _ limit: Int, _ output: inout [UInt8]
  ) throws(Failure) {
    guard let context = unsafe EVP_MAC_CTX_dup(template) else { throw failure("EVP_MAC_CTX_dup") }
    defer { unsafe EVP_MAC_CTX_free(context) }
    var length = 0
    if output.count != limit { output = [UInt8](repeating: 0, count: limit) }
    guard unsafe EVP_MAC_update(context, message, message.count) == 1,
      unsafe EVP_MAC_final(context, &output, &length, limit) == 1
    else { throw failure("EVP_MAC_final") }
    if length < limit { output.removeLast(limit - length) }
  }

  private static func failure(_ call: String) -> Failure {
    Failure("OpenSSL could not sign (\(call) failed): is it out of memory?")
  }

  private static func hexadecimal(_ byte: UInt8) -> String {
    (byte < 16 ? "0" : "") + String(byte, radix: 16)
  }
}
