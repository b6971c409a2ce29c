/// What a claims set says from token to token: all but `iat` and `exp`. Compared by its bytes,
/// which compares all that a token says.
package struct ClaimsTemplate: Hashable, Sendable {
  package let bearer: Bearer
  /// The configured claims as JSON, each behind a comma.
  private let more: [UInt8]

  /// `claims` follow `user_id` and `role`, if the bearer has them, `iat` and `exp`, in their order;
  /// none of them may be one of these, and a subject must be among them (the caller has checked).
  package init(_ bearer: Bearer, claims: [JSON.Member]) {
    self.bearer = bearer
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
    let most = 100 + 6 * bearer.name.utf8.count + more.count
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
    bytes.append(UInt8(ascii: "{"))
    if case .user(let id, let role) = bearer {
      bytes += "\"user_id\":".utf8
      JSON.string(id.text).append(to: &bytes)
      bytes += ",\"role\":\"".utf8
      bytes += role.rawValue.utf8
      bytes += "\",".utf8
    }
    bytes += "\"iat\":".utf8
    bytes += String(issuedAt.wholeSeconds).utf8
    bytes += ",\"exp\":".utf8
    bytes += String(expiresAt.wholeSeconds).utf8
    bytes += more
    bytes.append(UInt8(ascii: "}"))
  }
}
