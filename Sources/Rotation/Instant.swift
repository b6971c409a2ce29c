/// A moment of wall-clock time, the clock that verifiers of tokens use.
///
/// Counted in microseconds since 1970-01-01T00:00:00Z without leap seconds (POSIX time), so that
/// the range of an `Int64` spans some 292,000 years each way and sums cannot overflow in practice.
package struct Instant: Comparable, Hashable, Sendable {
  package let microseconds: Int64

  package init(microseconds: Int64) { self.microseconds = microseconds }

  /// After all that is counted here: in 146,000 years.
  package static let never = Instant(microseconds: .max / 2)

  /// The instant of a whole `NumericDate` (RFC 7519 section 2), within 292,000 years of 1970: a
  /// token's own, which was minted or checked.
  package init(seconds: Int64) { self.microseconds = seconds * 1_000_000 }

  /// The last whole second at or before this instant: what `iat` says of it.
  package var wholeSeconds: Int64 {
    let (quotient, remainder) = microseconds.quotientAndRemainder(dividingBy: 1_000_000)
    return remainder < 0 ? quotient - 1 : quotient
  }

  package static func < (left: Instant, right: Instant) -> Bool {
    left.microseconds < right.microseconds
  }
  package static func + (instant: Instant, span: Duration) -> Instant {
    Instant(microseconds: instant.microseconds + span.microseconds)
  }
  package static func - (instant: Instant, span: Duration) -> Instant {
    Instant(microseconds: instant.microseconds - span.microseconds)
  }
  package static func - (left: Instant, right: Instant) -> Duration {
    .microseconds(left.microseconds - right.microseconds)
  }
}
