import COpenSSL

/// SHA-256 (FIPS 180-4).
enum Digest {
  /// The 32 bytes of the digest of `bytes`; nil when OpenSSL has no memory for it.
  static func sha256(_ bytes: [UInt8]) -> [UInt8]? {
    Secret.arena
    var digest = [UInt8](repeating: 0, count: 32)
    let status = unsafe EVP_Digest(bytes, bytes.count, &digest, nil, EVP_sha256(), nil)
    return status == 1 ? digest : nil
  }
}
