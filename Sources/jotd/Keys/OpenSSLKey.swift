import CKeyMemory
import COpenSSL
import Glibc
import Rotation

/// A private key and its public half, or that alone, in libcrypto's hands (EVP_PKEY(3)): what is
/// secret of it is in the secure heap, as a `Secret` is.
///
/// `@unchecked`: libcrypto counts its owners, and nothing changes it.
@safe final class OpenSSLKey: @unchecked Sendable {
  /// For calls of libcrypto while this lives.
  @unsafe let pointer: OpaquePointer
  let publicKey: PublicKey

  /// Takes `pointer` over, which libcrypto itself works with.
  private init(taking pointer: OpaquePointer) throws(Failure) {
    unsafe self.pointer = unsafe pointer
    do { publicKey = try unsafe OpenSSLKey.publicKey(of: pointer) } catch {
      // The initialiser threw before all was there, so that `deinit` does not run.
      unsafe EVP_PKEY_free(pointer)
      throw error
    }
  }

  deinit { unsafe EVP_PKEY_free(pointer) }

  /// Has libcrypto fetch its decoders and stores, once and on one thread: while one fetches them
  /// for the first time, another finds none, and takes a key for something else (OpenSSL 3.0).
  private static let decoders: Void = {
    Secret.arena
    defer { ERR_clear_error() }
    var der: UnsafeMutablePointer<UInt8>?
    let key = unsafe jotd_generate_ec(group(of: .p256))
    let count = unsafe i2d_PUBKEY(key, &der)
    unsafe EVP_PKEY_free(key)
    guard count > 0 else { return }
    defer { unsafe jotd_free(der) }
    var place = unsafe UnsafePointer(der)
    unsafe EVP_PKEY_free(d2i_PUBKEY(nil, &place, Int(count)))
    let source = unsafe BIO_new_mem_buf(der, count)
    defer { unsafe BIO_free(source) }
    let store = unsafe OSSL_STORE_attach(source, "file", nil, nil, nil, nil, nil, nil, nil)
    unsafe OSSL_STORE_INFO_free(OSSL_STORE_load(store))
    unsafe OSSL_STORE_close(store)
  }()

  // MARK: Where it comes from

  /// The only private key that `encoded` has, in PEM or DER (PKCS#8, PKCS#1, SEC1, PKCS#12);
  /// `passphrase` opens it, if that is needed. Throws what is wrong with it.
  convenience init(decoding encoded: Secret, passphrase: Secret?) throws(Failure) {
    OpenSSLKey.decoders
    let asked = PassphraseQuestion(passphrase)
    let found = try unsafe encoded.withBytes { bytes throws(Failure) in
      try unsafe OpenSSLKey.load(bytes, asked)
    }
    try unsafe self.init(taking: found)
  }

  private static func load(
    _ bytes: UnsafeBufferPointer<UInt8>, _ asked: PassphraseQuestion
  ) throws(Failure) -> OpaquePointer {
    defer { ERR_clear_error() }
    guard let source = unsafe BIO_new_mem_buf(bytes.baseAddress, Int32(bytes.count)) else {
      throw outOfMemory
    }
    defer { unsafe BIO_free(source) }
    keymemory_wipe()
    defer { keymemory_leave() }
    let found = try unsafe asked.withMethod { method, data throws(Failure) -> OpaquePointer? in
      guard
        let store = unsafe OSSL_STORE_attach(
          source, "file", nil, nil, method, data, nil, nil, nil)
      else { return nil }
      defer { unsafe OSSL_STORE_close(store) }
      return try unsafe onlyPrivateKey(in: store, asked)
    }
    guard let found = unsafe found, let key = unsafe found else { throw outOfMemory }
    return unsafe key
  }

  /// The private key that there is beside certificates and the like; throws unless it is one.
  private static func onlyPrivateKey(
    in store: OpaquePointer, _ asked: PassphraseQuestion
  ) throws(Failure) -> OpaquePointer {
    var found: [OpaquePointer] = unsafe []
    defer { for index in unsafe found.indices { unsafe EVP_PKEY_free(found[index]) } }
    var (others, hasPublicKey, isLocked) = (0, false, false)
    // What is no object, such as text between them, ends a call, too.
    for _ in 0..<4 * Limits.objectsBesideKey
    where unsafe OSSL_STORE_eof(store) == 0 && others <= Limits.objectsBesideKey {
      asked.wasAsked = false
      guard let object = unsafe OSSL_STORE_load(store) else {
        isLocked = isLocked || asked.wasAsked
        continue
      }
      defer { unsafe OSSL_STORE_INFO_free(object) }
      switch unsafe OSSL_STORE_INFO_get_type(object) {
      case OSSL_STORE_INFO_PKEY:
        if let key = unsafe OSSL_STORE_INFO_get1_PKEY(object) { unsafe found.append(key) }
      case OSSL_STORE_INFO_PUBKEY: hasPublicKey = true
      default: others += 1
      }
    }
    if isLocked {
      throw Failure(
        asked.passphrase == nil
          ? "it is encrypted: name what opens it in a configuration, with passphrase"
          : "it is encrypted, and the passphrase does not open it")
    }
    guard others <= Limits.objectsBesideKey,
      unsafe OSSL_STORE_eof(store) == 1 || found.isEmpty
    else {
      throw Failure("it holds too much beside the key: leave that alone there")
    }
    switch unsafe found.count {
    case 1: return unsafe found.removeLast()
    case 0:
      throw Failure(
        hasPublicKey
          ? "it is the public half alone: to sign takes the private key"
          : "it is no private key in PEM, DER or JWK")
    default: throw Failure("it holds \(unsafe found.count) private keys: one is allowed")
    }
  }

  /// The public half alone, for what verifies; throws when it is not on its curve, or is otherwise
  /// no key.
  convenience init(_ publicKey: PublicKey) throws(Failure) {
    OpenSSLKey.decoders
    defer { ERR_clear_error() }
    let node = DER.publicKey(publicKey)
    let der = try Secret(capacity: node.count) { output in node.append(to: &output) }
    let found = unsafe der.withBytes { bytes -> OpaquePointer? in
      var place = bytes.baseAddress
      return unsafe d2i_PUBKEY(nil, &place, bytes.count)
    }
    guard let found = unsafe found else { throw Failure("its numbers make no public key") }
    try unsafe self.init(taking: found)
    guard let check = unsafe EVP_PKEY_CTX_new_from_pkey(nil, pointer, nil) else {
      throw OpenSSLKey.outOfMemory
    }
    defer { unsafe EVP_PKEY_CTX_free(check) }
    guard unsafe EVP_PKEY_public_check(check) == 1 else {
      throw Failure("its numbers make no public key")
    }
  }

  /// The same from an X.509 SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7) in DER.
  convenience init(subjectPublicKeyInfo der: [UInt8]) throws(Failure) {
    OpenSSLKey.decoders
    defer { ERR_clear_error() }
    let found = unsafe der.withUnsafeBufferPointer { bytes -> OpaquePointer? in
      var place = bytes.baseAddress
      return unsafe d2i_PUBKEY(nil, &place, bytes.count)
    }
    guard let found = unsafe found else { throw Failure("its public half is not to be had") }
    try unsafe self.init(taking: found)
  }

  /// A new one for `algorithm`, which takes one; an RSA key of 2,048 bits takes some tenths of a
  /// second.
  static func generate(for algorithm: Algorithm) throws(Failure) -> OpenSSLKey {
    Secret.arena
    defer { ERR_clear_error() }
    keymemory_wipe()
    defer { keymemory_leave() }
    var key: OpaquePointer?
    switch algorithm.keyKind {
    case .secret: throw Failure("\(algorithm.rawValue) takes a secret: make one with jotd secret")
    case .ec(let curve): unsafe key = unsafe jotd_generate_ec(OpenSSLKey.group(of: curve))
    case .rsa: unsafe key = unsafe jotd_generate_rsa(Limits.rsaBits.lowerBound)
    case .ed25519: unsafe key = unsafe jotd_generate_ed25519()
    }
    guard let key = unsafe key else { throw OpenSSLKey.outOfMemory }
    return try unsafe OpenSSLKey(taking: key)
  }

  // MARK: What it is

  /// In PEM (PKCS#8, without a passphrase), for its owner.
  func pem() throws(Failure) -> Secret {
    guard let output = unsafe BIO_new(BIO_s_secmem()) else { throw OpenSSLKey.outOfMemory }
    defer { unsafe BIO_free(output) }
    keymemory_wipe()
    defer { keymemory_leave() }
    guard unsafe PEM_write_bio_PKCS8PrivateKey(output, pointer, nil, nil, 0, nil, nil) == 1 else {
      throw OpenSSLKey.outOfMemory
    }
    return try Secret(capacity: Limits.privateKeyBytes) { text in
      var byte: UInt8 = 0
      while text.freeCapacity > 0, unsafe BIO_read(output, &byte, 1) == 1 { text.append(byte) }
    }
  }

  private static func group(of curve: PublicKey.Curve) -> String {
    switch curve {
    case .p256: "prime256v1"
    case .p384: "secp384r1"
    }
  }

  private static func publicKey(of key: OpaquePointer) throws(Failure) -> PublicKey {
    if unsafe EVP_PKEY_is_a(key, "RSA") == 1 {
      return .rsa(
        modulus: try unsafe number(key, OSSL_PKEY_PARAM_RSA_N),
        exponent: try unsafe number(key, OSSL_PKEY_PARAM_RSA_E))
    }
    if unsafe EVP_PKEY_is_a(key, "ED25519") == 1 {
      var point = [UInt8](repeating: 0, count: 32)
      var count = point.count
      guard unsafe EVP_PKEY_get_raw_public_key(key, &point, &count) == 1, count == 32 else {
        throw outOfMemory
      }
      return .ed25519(point)
    }
    guard unsafe EVP_PKEY_is_a(key, "EC") == 1 else {
      throw Failure(
        unsafe EVP_PKEY_is_a(key, "RSA-PSS") == 1
          ? "it is an RSA key for RSASSA-PSS alone, which no JWK can say: make one without"
          : "it is neither an EC, an RSA, nor an Ed25519 key")
    }
    var name = [CChar](repeating: 0, count: 64)
    var count = 0
    let isNamed = unsafe EVP_PKEY_get_utf8_string_param(
      key, OSSL_PKEY_PARAM_GROUP_NAME, &name, name.count, &count)
    let group = name.prefix(count).map { UInt8(bitPattern: $0) }
    guard isNamed == 1,
      let curve = PublicKey.Curve.allCases.first(where: {
        Array(OpenSSLKey.group(of: $0).utf8) == group
      })
    else {
      throw Failure(
        "it is an EC key on neither of "
          + PublicKey.Curve.allCases.map(\.rawValue).joined(separator: ", "))
    }
    return .ec(
      curve, x: try unsafe number(key, OSSL_PKEY_PARAM_EC_PUB_X, curve.bytes),
      y: try unsafe number(key, OSSL_PKEY_PARAM_EC_PUB_Y, curve.bytes))
  }

  /// A public number of a key, in `count` bytes, or as few as it takes.
  private static func number(
    _ key: OpaquePointer, _ name: String, _ count: Int = 0
  ) throws(Failure) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Limits.privateKeyBytes)
    let length = unsafe jotd_number(key, name, Int32(count), &bytes, Int32(bytes.count))
    guard length > 0 else { throw Failure("its public half is not to be had") }
    return Array(bytes.prefix(Int(length)))
  }

  private static var outOfMemory: Failure {
    Failure("OpenSSL could not take the key: is it out of memory?", code: ENOMEM)
  }
}
