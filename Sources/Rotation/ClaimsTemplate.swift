/// What a claims set says from token to token: all but `iat` and `exp`. Compared by its bytes,
/// which compares all that a token says.
package struct ClaimsTemplate: Hashable, Sendable {
  private let user: ByteString
  package let role: Role
  /// The configured claims as JSON, each behind a comma.
  private let more: [UInt8]

  package var userID: String { user.text }

  /// `claims` follow the four of the camera service, in their order; none of them may be one of
  /// the four (the caller has checked).
  package init(userID: String, role: Role, claims: [JSON.Member]) {
    user = ByteString(userID)
    self.role = role
    var more: [UInt8] = []
    for claim in claims {
      more.append(UInt8(ascii: ","))
      claim.append(to: &more)
    }
    self.more = more
  }

  /// Whether a compact token with these claims can be longer than `limit` bytes. `iat` and `exp`
  /// have ten digits at most: Linux counts the wall clock's nanoseconds in 63 bits, which end in
  /// 2262, and the longest lifetime after that is still below 10^10 seconds.
  func canExceed(_ limit: Int, _ algorithm: Algorithm) -> Bool {
    // A byte is written as six at the most, and what is around the claims has less than 100.
    let most = 100 + 6 * userID.utf8.count + more.count
    guard algorithm.tokenBytes(claims: most) > limit else { return false }
    let last = Instant(seconds: 9_999_999_999)
    return algorithm.tokenBytes(claims: payload(issuedAt: last, expiresAt: last).count) > limit
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
    bytes += "{\"user_id\":".utf8
    JSON.string(userID).append(to: &bytes)
    bytes += ",\"role\":\"".utf8
    bytes += role.rawValue.utf8
    bytes += "\",\"iat\":".utf8
    bytes += String(issuedAt.wholeSeconds).utf8
    bytes += ",\"exp\":".utf8
    bytes += String(expiresAt.wholeSeconds).utf8
    bytes += more
    bytes.append(UInt8(ascii: "}"))
  }
}
