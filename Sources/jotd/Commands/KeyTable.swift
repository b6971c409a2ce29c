import Rotation

/// How a ring of keys is shown.
enum KeyTable {
  /// A line for the ring, and one for each of its keys; nil when `ring` says less than that.
  static func lines(of ring: JSON) -> String? {
    guard let key = ring["key"]?.string, let members = ring["members"]?.elements else { return nil }
    var lines = [
      key
        + (time(ring["rotate_at"]).map { ": the next key is to sign \($0)" }
          ?? ": the next key signs when it is activated")
    ]
    if let fault = ring["last_error"]?.string { lines.append("  error: \(redacted(fault))") }
    for member in members {
      guard let kid = member["kid"]?.string, case .number(let number)? = member["number"],
        let algorithm = member["algorithm"]?.string,
        let state = member["state"]?.string, KeyLabel.fault(inKid: kid) == nil
      else { return nil }
      let since = time(
        member["retired_at"] ?? member["activated_at"] ?? member["published_at"]
          ?? member["made_at"])
      lines.append(
        "  \(redacted(number))  \(kid)  \(redacted(algorithm))  \(redacted(state))"
          + (since.map { " since \($0)" } ?? "")
          + (time(member["ready_at"]).map { ", known to verifiers \($0)" } ?? "")
          + (time(member["until"]).map { ", until \($0)" } ?? ""))
    }
    return lines.joined(separator: "\n")
  }

  private static func time(_ value: JSON?) -> String? {
    value?.string.flatMap(Instant.init(rfc3339:))?.rfc3339
  }
}
