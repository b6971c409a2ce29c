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
    let last = Instant(seconds: 9_999_999_999)
    return algorithm.tokenBytes(claims: payload(issuedAt: last, expiresAt: last).count)
  }

  package static let reserved = ["user_id", "role", "iat", "exp"]

  /// The whole claims set of a token with these times.
  func payload(issuedAt: Instant, expiresAt: Instant) -> [UInt8] {
    var bytes: [UInt8] = []
    append(issuedAt: issuedAt, expiresAt: expiresAt, to: &bytes)
    return bytes
  }

  /// Appends it to `bytes`.
  func append(issuedAt: Instant, expiresAt: Instant, to bytes: inout [UInt8]) {
    bytes += head
    bytes += String(issuedAt.wholeSeconds).utf8
    bytes += ",\"exp\":".utf8
    bytes += String(expiresAt.wholeSeconds).utf8
    bytes += tail
    bytes.append(UInt8(ascii: "}"))
  }
}
