/// The bytes of a claims set that stay the same from token to token, around `iat` and `exp`:
/// rendering them once makes minting cheap, and comparing them compares all that a token says.
package struct ClaimsTemplate: Hashable, Sendable {
  /// What stands before the number of `iat`, between it and that of `exp`, and after that.
  private let head: [UInt8]
  private static let between = Array(",\"exp\":".utf8)
  private let tail: [UInt8]

  /// `claims` follow the four of the camera service, in their order; none of them may be one of
  /// the four (the caller has checked).
  package init(userID: String, role: Role, claims: [JSON.Member]) {
    var head: [UInt8] = []
    head.reserveCapacity(48 + userID.utf8.count)
    head.append(UInt8(ascii: "{"))
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
    tail.append(UInt8(ascii: "}"))
    self.tail = tail
  }

  /// Bytes of the longest compact token with these claims. `iat` and `exp` have ten digits at
  /// most: Linux counts the wall clock's nanoseconds in 63 bits, which end in 2262, and the longest
  /// lifetime after that is still below 10^10 seconds.
  func longestToken(_ algorithm: Algorithm) -> Int {
    algorithm.tokenBytes(claims: head.count + 10 + ClaimsTemplate.between.count + 10 + tail.count)
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
    bytes += ClaimsTemplate.between
    bytes += String(expiresAt.wholeSeconds).utf8
    bytes += tail
  }
}
