import COpenSSL
import Rotation

extension KeyID {
  /// Of a hash of the key, and the name that it was given, if it was. 32 bits tell keys apart; a
  /// guess at a weak secret can be checked by them, and by more, better.
  init(of hash: [UInt8], kid: String?) {
    let print = Digest.hexadecimal(hash.prefix(4))
    self.init(kid.map { "\($0)/\(print)" } ?? print)
  }
}

/// SHA-256 (FIPS 180-4).
enum Digest {
  /// The 32 bytes of the digest of `bytes`; nil when OpenSSL has no memory for it.
  static func sha256(_ bytes: [UInt8]) -> [UInt8]? {
    Secret.arena
    var digest = [UInt8](repeating: 0, count: 32)
    let status = unsafe EVP_Digest(bytes, bytes.count, &digest, nil, EVP_sha256(), nil)
    return status == 1 ? digest : nil
  }

  /// Two digits for each byte.
  static func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}
