/// A moment of wall-clock time, the clock that verifiers of tokens use.
///
/// Counted in microseconds since 1970-01-01T00:00:00Z without leap seconds (POSIX time), so that
/// the range of an `Int64` spans some 292,000 years each way and sums cannot overflow in practice.
package struct Instant: Comparable, Hashable, Sendable {
  package let microseconds: Int64

  package init(microseconds: Int64) { self.microseconds = microseconds }

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

extension Instant {
  /// RFC 3339 in UTC, whole seconds: `2026-11-23T18:17:00Z`. Independent of `TZ` and of locales.
  package var rfc3339: String {
    let seconds = wholeSeconds
    var day = seconds / 86_400
    var second = seconds % 86_400
    if second < 0 {
      day -= 1
      second += 86_400
    }
    // Civil date from a day count: the year starts in March, so that the leap day comes last.
    let shifted = day + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra =
      (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let marchMonth = (5 * dayOfYear + 2) / 153
    let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    let dayOfMonth = dayOfYear - (153 * marchMonth + 2) / 5 + 1
    var text: [UInt8] = []
    text.reserveCapacity(20)
    if (0...9_999).contains(year) {
      appendTwoDigits(year / 100, to: &text)
      appendTwoDigits(year % 100, to: &text)
    } else {
      let digits = String(year)
      text += String(repeating: "0", count: max(0, 4 - digits.utf8.count)).utf8
      text += digits.utf8
    }
    let rest = [
      (mark: UInt8(ascii: "-"), number: month), (UInt8(ascii: "-"), dayOfMonth),
      (UInt8(ascii: "T"), second / 3_600), (UInt8(ascii: ":"), second / 60 % 60),
      (UInt8(ascii: ":"), second % 60),
    ]
    for (mark, number) in rest {
      text.append(mark)
      appendTwoDigits(number, to: &text)
    }
    text.append(UInt8(ascii: "Z"))
    return String(decoding: text, as: UTF8.self)
  }
}

extension Instant {
  /// Reads what `rfc3339` writes, and nothing else.
  package init?(rfc3339 text: String) {
    let bytes = Array(text.utf8)
    guard bytes.count == 20 else { return nil }
    // Digits alone, so that no field is larger than its place.
    let fields = [0..<4, 5..<7, 8..<10, 11..<13, 14..<16, 17..<19].compactMap { place -> Int64? in
      let digits = bytes[place]
      guard digits.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
      return digits.reduce(0) { $0 * 10 + Int64($1 - 0x30) }
    }
    guard fields.count == 6 else { return nil }
    let (year, month, day) = (fields[0] - (fields[1] <= 2 ? 1 : 0), fields[1], fields[2])
    let era = (year >= 0 ? year : year - 399) / 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    let yearOfEra = year - era * 400
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    let days = era * 146_097 + dayOfEra - 719_468
    self.init(seconds: days * 86_400 + fields[3] * 3600 + fields[4] * 60 + fields[5])
    guard rfc3339 == text else { return nil }
  }
}

private func appendTwoDigits(_ number: Int64, to text: inout [UInt8]) {
  text.append(UInt8(ascii: "0") + UInt8(number / 10))
  text.append(UInt8(ascii: "0") + UInt8(number % 10))
}
