/// The HMAC algorithms of RFC 7518 section 3.2, by their registered names.
package enum Algorithm: String, CaseIterable, Sendable {
  case hs256 = "HS256"
  case hs384 = "HS384"
  case hs512 = "HS512"

  /// Bytes of the hash, of the signature, and the least that a key must have.
  package var hashBytes: Int {
    switch self {
    case .hs256: 32
    case .hs384: 48
    case .hs512: 64
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
    }
  }

  /// Bytes of a compact token behind its header, with a claims set of `claims` bytes.
  func bytesAfterHeader(claims: Int) -> Int {
    Base64URL.digits(for: claims) + 1 + Base64URL.digits(for: hashBytes)
  }

  private static let headers = allCases.map { $0.header(type: "JWT", kid: nil) }

  /// The JOSE header (RFC 7515 section 4) in base64url, and the period after it. Neither `type` nor
  /// `kid` may have characters that JSON escapes.
  func header(type: String, kid: String?) -> [UInt8] {
    let name = kid.map { #","kid":"\#($0)""# } ?? ""
    var text: [UInt8] = []
    Base64URL.append(Array(#"{"alg":"\#(rawValue)","typ":"\#(type)"\#(name)}"#.utf8), to: &text)
    return text + [UInt8(ascii: ".")]
  }
}
