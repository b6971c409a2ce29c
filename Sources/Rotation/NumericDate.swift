/// Seconds since 1970, possibly with a fraction (RFC 7519 section 2).
package struct NumericDate: Sendable {
  package let seconds: Double

  /// Nil when `value` is no finite JSON number.
  package init?(_ value: JSON) {
    guard case .number(let text) = value, let seconds = Double(text), seconds.isFinite else {
      return nil
    }
    self.seconds = seconds
  }

  /// Whether it is in the years 0 to 9999, which RFC 3339 can write.
  package var isInCalendar: Bool { (-62_167_219_200..<253_402_300_800).contains(seconds) }

  /// When it is, in words: `at 2026-11-23T18:17:00Z`.
  package var when: String {
    isInCalendar
      ? "at \(instant.rfc3339)" : seconds < 0 ? "before the year 0" : "after the year 9999"
  }

  /// The same as an instant; dates beyond some 250,000 years are brought back to that bound.
  package var instant: Instant {
    let bound = 8e18
    return Instant(microseconds: Int64(min(max(seconds * 1e6, -bound), bound)))
  }
}
