/// What an identity's tokens say from one to the next: all but their stamps. Compared by its bytes,
/// which compares all that a token says.
package struct TokenTemplate: Hashable, Sendable {
  package let bearer: Bearer
  /// Whether each token has an id of its own, the claim `jti` (RFC 7519 section 4.1.7).
  let hasID: Bool
  /// The header parameter `typ` (RFC 7515 section 4.1.9); empty for `JWT`, as nearly always.
  private let otherType: [UInt8]
  /// The configured claims as JSON, each behind a comma.
  private let more: [UInt8]

  /// What differs from token to token: the claims `iat`, `exp` and, for those that have one, `jti`.
  struct Stamp {
    let issuedAt: Instant
    let expiresAt: Instant
    let id: String?
  }

  /// `claims` follow `user_id` and `role`, if the bearer has them, `iat`, `exp`, and `jti`, if each
  /// token has one, in their order; none of them may be one of these, and a subject must be among
  /// them (the caller has checked).
  package init(_ bearer: Bearer, type: String? = nil, hasID: Bool = false, claims: [JSON.Member]) {
    self.bearer = bearer
    otherType = type == "JWT" ? [] : Array((type ?? "").utf8)
    self.hasID = hasID
    var more: [UInt8] = []
    for claim in claims {
      more.append(UInt8(ascii: ","))
      claim.append(to: &more)
    }
    self.more = more
  }

  package static let reserved = ["user_id", "role", "iat", "exp"]

  /// Whether a compact token of this kind can be longer than `limit` bytes.
  func canExceed(_ limit: Int, _ key: KeyLabel) -> Bool {
    let (kid, signature) = (key.longestKid, key.algorithm.mostSignatureBytes)
    // A byte is written as six at the most, and what is around the claims has less than 150.
    let most =
      header(key.algorithm, kid: kid).count
      + key.algorithm.bytesAfterHeader(
        claims: 150 + 6 * bearer.name.utf8.count + more.count, signature: signature)
    return most > limit && mostBytes(key.algorithm, kid: kid, signature: signature) > limit
  }

  /// The bytes of the longest compact token of this kind with such a header and a signature of so
  /// many bytes. `iat` and `exp` have ten digits at most: Linux counts the wall clock's nanoseconds
  /// in 63 bits, which end in 2262, and the longest lifetime after that is still below 10^10
  /// seconds.
  func mostBytes(_ algorithm: Algorithm, kid: String?, signature: Int) -> Int {
    let last = Instant(seconds: 9_999_999_999)
    let id = hasID ? String(repeating: "x", count: TokenTemplate.idDigits) : nil
    let longest = payload(Stamp(issuedAt: last, expiresAt: last, id: id))
    return header(algorithm, kid: kid).count
      + algorithm.bytesAfterHeader(claims: longest.count, signature: signature)
  }

  /// The first part of a compact token and the period after it.
  func header(_ algorithm: Algorithm, kid: String?) -> [UInt8] {
    guard kid != nil || !otherType.isEmpty else { return algorithm.header }
    return algorithm.header(type: type ?? "JWT", kid: kid)
  }

  /// The header's `typ`; nil for `JWT`.
  var type: String? {
    otherType.isEmpty ? nil : String(decoding: otherType, as: UTF8.self)
  }

  /// The claims set of a token with this stamp.
  func payload(_ stamp: Stamp) -> [UInt8] {
    var bytes: [UInt8] = []
    append(stamp, to: &bytes)
    return bytes
  }

  /// Appends it to `bytes`.
  func append(_ stamp: Stamp, to bytes: inout [UInt8]) {
    bytes.append(UInt8(ascii: "{"))
    if case .user(let id, let role) = bearer {
      bytes += "\"user_id\":".utf8
      JSON.string(id.text).append(to: &bytes)
      bytes += ",\"role\":\"".utf8
      bytes += role.rawValue.utf8
      bytes += "\",".utf8
    }
    bytes += "\"iat\":".utf8
    bytes += String(stamp.issuedAt.wholeSeconds).utf8
    bytes += ",\"exp\":".utf8
    bytes += String(stamp.expiresAt.wholeSeconds).utf8
    if let id = stamp.id {
      bytes += ",\"jti\":\"".utf8
      bytes += id.utf8
      bytes.append(UInt8(ascii: "\""))
    }
    bytes += more
    bytes.append(UInt8(ascii: "}"))
  }
}

// MARK: Words in the header

extension TokenTemplate {
  package static let wordRule = "a-z, A-Z, 0-9, '.', '_', '+' and '-'"

  /// Whether `text` has 1 to `most` of the characters that `wordRule` names: none that JSON
  /// escapes, and no slash, because some verifiers take a name for a path.
  package static func isWord(_ text: String, upTo most: Int) -> Bool {
    (1...most).contains(text.utf8.count)
      && text.utf8.allSatisfy { byte in
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
        case UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "+"), UInt8(ascii: "-"): true
        default: false
        }
      }
  }
}

// MARK: The ids of tokens

extension TokenTemplate {
  private static let idDigits = 32
  private static let digits = Array("0123456789abcdef".utf8)

  /// A fresh id, 128 random bits in hexadecimal, in which no part of a token can be seen, as by
  /// chance in base64url; nil where tokens have none.
  func newID(_ random: inout some RandomNumberGenerator) -> String? {
    guard hasID else { return nil }
    let text = (0..<TokenTemplate.idDigits).map { _ in
      TokenTemplate.digits[Int.random(in: 0..<16, using: &random)]
    }
    return String(decoding: text, as: UTF8.self)
  }

  /// The id in these claims, as `newID` makes them; nil where there is none.
  func id(in claims: JSON) -> String? {
    guard hasID, case .string(let id)? = claims["jti"], id.utf8.count == TokenTemplate.idDigits,
      id.utf8.allSatisfy(TokenTemplate.digits.contains)
    else { return nil }
    return id
  }
}
