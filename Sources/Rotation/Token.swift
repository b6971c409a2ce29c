/// A minted JWT (RFC 7519) in compact serialization (RFC 7515 section 3.1).
///
/// Its bytes are what lets a client in: they go to deliveries and nowhere else, so a description
/// shows none of them.
package struct Token: Sendable, CustomStringConvertible {
  package let compact: [UInt8]
  /// `iat` and `exp`: whole seconds since 1970 (NumericDate).
  package let issuedAt: Int64
  package let expiresAt: Int64
  package let keyID: KeyID

  package var description: String { "token of \(issuedAt), not shown" }
  package var expiry: Instant { Instant(seconds: expiresAt) }
}

/// The bytes of a claims set that stay the same from token to token, around `iat` and `exp`:
/// rendering them once makes minting cheap, and comparing them compares all that a token says.
package struct ClaimsTemplate: Hashable, Sendable {
  private let head: [UInt8]
  private let tail: [UInt8]

  /// `claims` follow the four of the camera service, in their order; none of them may be one of
  /// the four (the caller has checked).
  package init(userID: String, role: Role, claims: [JSON.Member]) {
    var head = Array("{".utf8)
    JSON.Member("user_id", .string(userID)).append(to: &head)
    head.append(UInt8(ascii: ","))
    JSON.Member("role", .string(role.rawValue)).append(to: &head)
    head += ",\"iat\":".utf8
    self.head = head
    var tail: [UInt8] = []
    for claim in claims {
      tail.append(UInt8(ascii: ","))
      claim.append(to: &tail)
    }
    self.tail = tail
  }

  /// Bytes of the longest compact token with these claims. `iat` and `exp` have ten digits at
  /// most: Linux counts the wall clock's nanoseconds in 63 bits, which end in 2262, and the longest
  /// lifetime after that is still below 10^10 seconds.
  func longestToken(_ algorithm: Algorithm) -> Int {
    var claims: [UInt8] = []
    append(issuedAt: 9_999_999_999, expiresAt: 9_999_999_999, to: &claims)
    return algorithm.tokenBytes(claims: claims.count)
  }

  package static let reserved = ["user_id", "role", "iat", "exp"]

  /// Appends the whole claims set to `bytes`.
  fileprivate func append(issuedAt: Int64, expiresAt: Int64, to bytes: inout [UInt8]) {
    bytes += head
    bytes += String(issuedAt).utf8
    bytes += ",\"exp\":".utf8
    bytes += String(expiresAt).utf8
    bytes += tail
    bytes.append(UInt8(ascii: "}"))
  }
}

/// Makes tokens. Deterministic: the same claims, times and key give the same bytes.
package struct Minter {
  /// Reused from token to token.
  private var claims: [UInt8] = []
  private var signature: [UInt8] = []

  package init() {}

  /// A token issued at the whole second of `now`, so never in the future of a verifier that
  /// shares the clock. `lifetime` is in whole seconds.
  package mutating func mint(
    _ template: ClaimsTemplate, lifetime: Duration, at now: Instant, signer: any Signer
  ) throws(Failure) -> Token {
    let issuedAt = now.wholeSeconds
    let expiresAt = issuedAt + lifetime.components.seconds
    claims.removeAll(keepingCapacity: true)
    template.append(issuedAt: issuedAt, expiresAt: expiresAt, to: &claims)
    var compact: [UInt8] = []
    compact.reserveCapacity(signer.algorithm.tokenBytes(claims: claims.count))
    compact += signer.algorithm.header
    Base64URL.append(claims, to: &compact)
    try signer.sign(compact, into: &signature)
    compact.append(UInt8(ascii: "."))
    Base64URL.append(signature, to: &compact)
    return Token(
      compact: compact, issuedAt: issuedAt, expiresAt: expiresAt, keyID: signer.keyID)
  }
}

extension Algorithm {
  /// `{"alg":"HS256","typ":"JWT"}` in base64url, and the period after it.
  fileprivate var header: [UInt8] {
    switch self {
    case .hs256: Algorithm.headers[0]
    case .hs384: Algorithm.headers[1]
    case .hs512: Algorithm.headers[2]
    }
  }

  /// Bytes of a compact token with a claims set of `claims` bytes.
  fileprivate func tokenBytes(claims: Int) -> Int {
    header.count + Base64URL.digits(for: claims) + 1 + Base64URL.digits(for: hashBytes)
  }

  private static let headers = allCases.map { algorithm in
    var text: [UInt8] = []
    Base64URL.append(Array(#"{"alg":"\#(algorithm.rawValue)","typ":"JWT"}"#.utf8), to: &text)
    return text + [UInt8(ascii: ".")]
  }
}
