import COpenSSL
import Glibc
import Rotation

/// A private key that libcrypto reaches by a provider or an engine. Used by `DeviceHelper` alone:
/// what is loaded here is somebody else's code, which may hang or crash.
@safe final class DeviceKey {
  /// Why a key cannot be had.
  enum Refusal: Error {
    /// The device refuses the passphrase: asking again may lock it.
    case passphrase(String)
    case other(String)
  }

  private let key: OpaquePointer
  private let algorithm: Algorithm
  /// Whether a passphrase was given, or the URI has one.
  private let isProtected: Bool

  /// The key at `uri`, to sign by `algorithm` with. What opens it is `passphrase`.
  init(_ uri: KeyURI, _ algorithm: Algorithm, passphrase: Secret?) throws(Refusal) {
    self.algorithm = algorithm
    let isProtected = passphrase != nil || uri.isProtected
    self.isProtected = isProtected
    let question = PassphraseQuestion(passphrase)
    let found = unsafe question.withLastingMethod { method, data in
      unsafe DeviceKey.load(uri, hasPassphrase: passphrase != nil, method, data)
    }
    guard let found = unsafe found, let key = unsafe found else {
      let refusal = DeviceKey.refusal(isProtected)
      throw question.wasAsked && !isProtected
        ? .other("it asks for a PIN or a passphrase: name that with passphrase") : refusal
    }
    unsafe self.key = unsafe key
    ERR_clear_error()
  }

  deinit { unsafe EVP_PKEY_free(key) }

  private static func load(
    _ uri: KeyURI, hasPassphrase: Bool, _ method: OpaquePointer, _ data: UnsafeMutableRawPointer
  ) -> OpaquePointer? {
    // As every program does that is not told otherwise (openssl.cnf), but for one that lacks it.
    _ = CONF_modules_load_file(nil, nil, jotd_usual_configuration())
    ERR_clear_error()
    // A provider that is loaded by name keeps the standard one from being loaded by itself.
    guard unsafe OSSL_PROVIDER_load(nil, "default") != nil else { return nil }
    switch uri.scheme {
    case "pkcs11":
      let (text, module) = uri.withoutModule
      if let module {
        for variable in ["PKCS11_MODULE_PATH", "PKCS11_PROVIDER_MODULE"] {
          unsafe setenv(variable, module, 1)
        }
      }
      if unsafe OSSL_PROVIDER_try_load(nil, "pkcs11", 1) != nil {
        return unsafe stored(text, method, data)
      }
      ERR_clear_error()
      return unsafe jotd_engine_key("pkcs11", text, method, data)
    case "org.openssl.engine":
      let parts = uri.text.split(separator: ":", maxSplits: 2)
      guard parts.count == 3 else { return nil }
      return unsafe jotd_engine_key(String(parts[1]), String(parts[2]), method, data)
    case "handle", "object":
      guard unsafe OSSL_PROVIDER_load(nil, "tpm2") != nil else { return nil }
      // Only then it asks for what the key takes.
      let asks = hasPassphrase && !uri.text.contains("?") ? "?pass" : ""
      return unsafe stored(uri.text + asks, method, data)
    default:
      // A key that a TPM has wrapped is a file that its provider alone understands.
      _ = unsafe OSSL_PROVIDER_try_load(nil, "tpm2", 1)
      ERR_clear_error()
      return unsafe stored(uri.text, method, data)
    }
  }

  /// The first private key of a store.
  private static func stored(
    _ uri: String, _ method: OpaquePointer, _ data: UnsafeMutableRawPointer
  ) -> OpaquePointer? {
    guard let store = unsafe OSSL_STORE_open(uri, method, data, nil, nil) else {
      return nil
    }
    defer { unsafe OSSL_STORE_close(store) }
    _ = unsafe OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY)
    // What is no object ends a call, too.
    for _ in 0..<4 * Limits.objectsBesideKey where unsafe OSSL_STORE_eof(store) == 0 {
      guard let object = unsafe OSSL_STORE_load(store) else { continue }
      defer { unsafe OSSL_STORE_INFO_free(object) }
      if let key = unsafe OSSL_STORE_INFO_get1_PKEY(object) { return unsafe key }
    }
    return nil
  }

  /// The public half, as an X.509 SubjectPublicKeyInfo in DER.
  func publicKey() throws(Refusal) -> [UInt8] {
    var der: UnsafeMutablePointer<UInt8>?
    let count = unsafe i2d_PUBKEY(key, &der)
    defer { unsafe jotd_free(der) }
    guard count > 0, let der = unsafe der else { throw refusal() }
    return unsafe Array(UnsafeBufferPointer(start: der, count: Int(count)))
  }

  /// The signature of `message`, as RFC 7518 section 3 and RFC 8037 have it.
  func sign(_ message: [UInt8]) throws(Refusal) -> [UInt8] {
    defer { ERR_clear_error() }
    switch algorithm.keyKind {
    case .secret: throw .other("\(algorithm.rawValue) takes a secret")
    case .ed25519: return try signWhole(message)
    case .rsa: return try signHash(of: message)
    case .ec(let curve):
      let der = try signHash(of: message)
      var raw = [UInt8](repeating: 0, count: 2 * curve.bytes)
      guard unsafe jotd_ecdsa_raw(der, der.count, &raw, Int32(curve.bytes)) == 1 else {
        throw .other("it made no signature of \(algorithm.rawValue)")
      }
      return raw
    }
  }

  /// What makes libcrypto use the provider that has the key (property(7)), and not one that it can
  /// give only the public half; nil for an engine's key.
  private var properties: String? {
    guard let provider = unsafe EVP_PKEY_get0_provider(key) else { return nil }
    return unsafe "?provider=\(String(cString: OSSL_PROVIDER_get0_name(provider)))"
  }

  private func signHash(of message: [UInt8]) throws(Refusal) -> [UInt8] {
    let kind = unsafe algorithm.hashBytes == 48 ? EVP_sha384() : EVP_sha256()
    var hash = [UInt8](repeating: 0, count: algorithm.hashBytes)
    var count = 0
    guard unsafe EVP_Digest(message, message.count, &hash, nil, kind, nil) == 1,
      let context = unsafe EVP_PKEY_CTX_new_from_pkey(nil, key, properties)
    else { throw refusal() }
    defer { unsafe EVP_PKEY_CTX_free(context) }
    let isPSS = algorithm == .ps256
    guard unsafe EVP_PKEY_sign_init(context) == 1,
      unsafe !isPSS || EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1,
      unsafe EVP_PKEY_CTX_set_signature_md(context, kind) == 1,
      unsafe !isPSS || EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1,
      unsafe EVP_PKEY_sign(context, nil, &count, hash, hash.count) == 1,
      count <= Limits.privateKeyBytes
    else { throw refusal() }
    var signature = [UInt8](repeating: 0, count: count)
    guard unsafe EVP_PKEY_sign(context, &signature, &count, hash, hash.count) == 1 else {
      throw refusal()
    }
    return Array(signature.prefix(count))
  }

  private func signWhole(_ message: [UInt8]) throws(Refusal) -> [UInt8] {
    var count = 64
    var signature = [UInt8](repeating: 0, count: count)
    guard let context = unsafe EVP_MD_CTX_new() else { throw refusal() }
    defer { unsafe EVP_MD_CTX_free(context) }
    guard unsafe EVP_DigestSignInit_ex(context, nil, nil, nil, properties, key, nil) == 1,
      unsafe EVP_DigestSign(context, &signature, &count, message, message.count) == 1
    else { throw refusal() }
    return Array(signature.prefix(count))
  }

  // MARK: What went wrong

  private func refusal() -> Refusal { DeviceKey.refusal(isProtected) }

  /// Also when it is the first signature that a device refuses: a TPM counts that as a guess.
  private static func refusal(_ isProtected: Bool) -> Refusal {
    let reasons = reasons()
    // What the engine, the provider and others say of PKCS#11's CKR_PIN_..., never a part of a
    // path; a TPM's words come with its number. One that is locked does not count, and opens by
    // itself in time.
    let isOfPassphrase = reasons.contains { reason in
      reason.words.hasPrefix("PIN ") || reason.words.hasPrefix("The specified PIN ")
        || reason.data.contains("CKR_PIN_")
        || reason.data.contains("tpm:") && reason.data.contains("auth")
          && !reason.data.contains("lockout mode")
    }
    let text =
      reasons.isEmpty
      ? "no reason is given"
      : reasons.map { $0.data.isEmpty ? $0.words : "\($0.words) (\($0.data))" }
        .joined(separator: "; ")
    return isProtected && isOfPassphrase
      ? .passphrase(KeyURI.masked(text)) : .other(KeyURI.masked(text))
  }

  private struct Reason: Equatable {
    let words: String
    /// What its library added.
    let data: String
  }

  /// What libcrypto and those behind it noted, the last first.
  private static func reasons() -> [Reason] {
    var found: [Reason] = []
    while true {
      var (data, flags) = unsafe (UnsafePointer<CChar>?.none, CInt(0))
      let error = unsafe ERR_get_error_all(nil, nil, nil, &data, &flags)
      guard error != 0 else { break }
      let words =
        unsafe ERR_reason_error_string(error).map { unsafe String(cString: $0) }
        ?? "error \(String(error, radix: 16))"
      var more = ""
      if flags & ERR_TXT_STRING != 0, let data = unsafe data { more = unsafe String(cString: data) }
      let reason = Reason(words: words, data: more)
      if !found.contains(reason) { found.append(reason) }
    }
    return found.reversed()
  }
}
