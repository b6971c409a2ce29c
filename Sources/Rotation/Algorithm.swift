/// How tokens are signed, by the registered names: RFC 7518 section 3.1, RFC 8037 section 3.1, and
/// RFC 9864 section 2.2, which has its own name for what RFC 8037 calls EdDSA on Curve25519.
package enum Algorithm: String, CaseIterable, Sendable {
  case hs256 = "HS256"
  case hs384 = "HS384"
  case hs512 = "HS512"
  case es256 = "ES256"
  case es384 = "ES384"
  case rs256 = "RS256"
  case ps256 = "PS256"
  case edDSA = "EdDSA"
  case ed25519 = "Ed25519"

  /// What it takes to sign.
  package enum KeyKind: Hashable, Sendable, CustomStringConvertible {
    /// A secret that whoever verifies has, too: HMAC.
    case secret
    /// A private key of ECDSA on this curve.
    case ec(PublicKey.Curve)
    case rsa
    /// A private key of EdDSA on edwards25519 (RFC 8032).
    case ed25519

    /// In words, for "an ...".
    package var description: String {
      switch self {
      case .secret: "HMAC secret"
      case .ec(let curve): "EC key on \(curve.rawValue)"
      case .rsa: "RSA key"
      case .ed25519: "Ed25519 key"
      }
    }
  }

  package var keyKind: KeyKind {
    switch self {
    case .hs256, .hs384, .hs512: .secret
    case .es256: .ec(.p256)
    case .es384: .ec(.p384)
    case .rs256, .ps256: .rsa
    case .edDSA, .ed25519: .ed25519
    }
  }

  /// Whether it signs with a secret, and not with a private key.
  package var takesSecret: Bool { keyKind == .secret }

  /// Whether a signature takes milliseconds, on a small host tens of them.
  package var isSlow: Bool { keyKind == .rsa }

  /// Bytes of the hash; of HMAC, that is what the signature has, and a secret at least.
  package var hashBytes: Int {
    switch self {
    case .hs256, .es256, .rs256, .ps256: 32
    case .hs384, .es384: 48
    case .hs512, .edDSA, .ed25519: 64
    }
  }

  /// Bytes of the longest signature.
  var mostSignatureBytes: Int {
    switch keyKind {
    case .secret: hashBytes
    case .ec(let curve): 2 * curve.bytes
    case .rsa: Limits.rsaBits.upperBound / 8
    case .ed25519: 64
    }
  }
}

extension Algorithm {
  /// `{"alg":"HS256","typ":"JWT"}` in base64url, and the period after it.
  var header: [UInt8] {
    switch self {
    case .hs256: Algorithm.headers[0]
    case .hs384: Algorithm.headers[1]
    case .hs512: Algorithm.headers[2]
    default: header(type: "JWT", kid: nil)
    }
  }

  private static let headers = [hs256, hs384, hs512].map { $0.header(type: "JWT", kid: nil) }

  /// Bytes of a compact token behind its header, with a claims set and a signature of so many.
  func bytesAfterHeader(claims: Int, signature: Int) -> Int {
    Base64URL.digits(for: claims) + 1 + Base64URL.digits(for: signature)
  }

  /// The JOSE header (RFC 7515 section 4) in base64url, and the period after it. Neither `type` nor
  /// `kid` may have characters that JSON escapes.
  func header(type: String, kid: String?) -> [UInt8] {
    let name = kid.map { #","kid":"\#($0)""# } ?? ""
    var text: [UInt8] = []
    Base64URL.append(Array(#"{"alg":"\#(rawValue)","typ":"\#(type)"\#(name)}"#.utf8), to: &text)
    return text + [UInt8(ascii: ".")]
  }
}
