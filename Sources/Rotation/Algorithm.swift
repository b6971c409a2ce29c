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

  private static let headers = allCases.map { header($0.rawValue, "JWT") }

  /// `{"alg":ALGORITHM,"typ":TYPE}` in base64url, and the period after it.
  static func header(_ algorithm: String, _ type: String) -> [UInt8] {
    var text: [UInt8] = []
    Base64URL.append(Array(#"{"alg":"\#(algorithm)","typ":"\#(type)"}"#.utf8), to: &text)
    return text + [UInt8(ascii: ".")]
  }
}
