/// Spans of time as people write and read them, after systemd.time(7).
extension Duration {
  /// In microseconds, rounded towards zero; saturates beyond 292,000 years.
  package var microseconds: Int64 {
    let (seconds, attoseconds) = components
    let (whole, isBeyond) = seconds.multipliedReportingOverflow(by: 1_000_000)
    let (sum, isJustBeyond) = whole.addingReportingOverflow(attoseconds / 1_000_000_000_000)
    return isBeyond || isJustBeyond ? (seconds < 0 ? .min : .max) : sum
  }

  /// Whether the span is a whole number of seconds, as `exp - iat` must be.
  package var isWholeSeconds: Bool { components.attoseconds == 0 }

  /// Reads a span as systemd.time(7) writes it: `24h`, `1h 30min`, `1.5d`; a bare number is
  /// seconds. Returns nil for anything else, for a negative span, and above 10^9 s.
  package init?(timeSpan text: String) {
    var rest = text.utf8.drop(while: \.isBlank)
    guard !rest.isEmpty else { return nil }
    var total: Int64 = 0
    while !rest.isEmpty {
      let number = rest.prefix { $0.isDigit || $0 == UInt8(ascii: ".") }
      rest = rest.dropFirst(number.count).drop(while: \.isBlank)
      // What is no letter of ASCII is the first of "µs", or of no unit.
      let unit = rest.prefix { $0.isLetter || $0 >= 0x80 }
      rest = rest.dropFirst(unit.count).drop(while: \.isBlank)
      guard let scale = scale(of: unit), let part = product(number, scale) else { return nil }
      total += part
      guard total <= 1_000_000_000_000_000 else { return nil }
    }
    self = .microseconds(total)
  }

  /// The span in days, hours, minutes and seconds, as `init(timeSpan:)` reads it: `1d 2h`, `30min`,
  /// `1.5s`; below zero with a minus sign, which that does not read. Exact to the microsecond.
  package var timeSpan: String {
    var rest = microseconds
    guard rest > 0 else { return rest == 0 ? "0" : "-" + (.zero - self).timeSpan }
    var parts: [String] = []
    for (unit, scale) in [("d", 86_400), ("h", 3_600), ("min", 60)] as [(String, Int64)] {
      let count = rest / (scale * 1_000_000)
      if count > 0 { parts.append("\(count)\(unit)") }
      rest %= scale * 1_000_000
    }
    if rest > 0 {
      var fraction = String(String(1_000_000 + rest % 1_000_000).dropFirst())
      while fraction.last == "0" { fraction.removeLast() }
      parts.append("\(rest / 1_000_000)\(fraction.isEmpty ? "" : ".")\(fraction)s")
    }
    return parts.joined(separator: " ")
  }

  /// The span for a person who looks at it in passing: its two largest units, rounded down.
  package var approximate: String {
    let all = Duration.seconds(max(0, components.seconds)).timeSpan.split(separator: " ")
    return all[0] == "0" ? "0s" : all.prefix(2).joined(separator: " ")
  }
}

/// systemd.time(7), "Parsing Time Spans": microseconds to a unit of more than one letter.
private let timeUnits: [String: Int64] = {
  let units: [(names: [String], seconds: Int64)] = [
    (["seconds", "second", "sec"], 1),
    (["minutes", "minute", "min"], 60),
    (["hours", "hour", "hr"], 3_600),
    (["days", "day"], 86_400),
    (["weeks", "week"], 604_800),
    (["months", "month"], 2_629_800),
    (["years", "year"], 31_557_600),
  ]
  var table: [String: Int64] = ["msec": 1_000, "ms": 1_000]
  for name in ["usec", "us", "µs", "μs"] { table[name] = 1 }
  for unit in units { for name in unit.names { table[name] = unit.seconds * 1_000_000 } }
  return table
}()

/// Microseconds to a unit, seconds for none; nil when there is no such unit.
private func scale(of unit: Substring.UTF8View) -> Int64? {
  guard unit.count == 1, let letter = unit.first else {
    return unit.isEmpty ? 1_000_000 : timeUnits[String(Substring(unit))]
  }
  // The commonest.
  switch letter {
  case UInt8(ascii: "s"): return 1_000_000
  case UInt8(ascii: "m"): return 60 * 1_000_000
  case UInt8(ascii: "h"): return 3_600 * 1_000_000
  case UInt8(ascii: "d"): return 86_400 * 1_000_000
  case UInt8(ascii: "w"): return 604_800 * 1_000_000
  case UInt8(ascii: "M"): return 2_629_800 * 1_000_000
  case UInt8(ascii: "y"): return 31_557_600 * 1_000_000
  default: return nil
  }
}

/// A decimal number times a scale, without binary rounding; nil when it is none or too large.
private func product(_ number: Substring.UTF8View, _ scale: Int64) -> Int64? {
  let whole = number.prefix { $0 != UInt8(ascii: ".") }
  let fraction = number.dropFirst(whole.count + 1)
  guard whole.count + fraction.count > 0, whole.count <= 15, fraction.count <= 6,
    fraction.allSatisfy(\.isDigit)
  else { return nil }
  let (units, overflow) = value(whole).multipliedReportingOverflow(by: scale)
  guard !overflow, units <= 1_000_000_000_000_000 else { return nil }
  var divisor: Int64 = 1
  for _ in fraction { divisor *= 10 }
  // The product of the two can need more than 64 bits; the quotient is less than the scale.
  let part = divisor.dividingFullWidth(value(fraction).multipliedFullWidth(by: scale)).quotient
  return units + part
}

/// The value of digits that 64 bits hold.
private func value(_ digits: Substring.UTF8View) -> Int64 {
  digits.reduce(0) { $0 * 10 + Int64($1 - 0x30) }
}

extension UInt8 {
  fileprivate var isBlank: Bool { self == 0x20 || self == 0x09 }
  fileprivate var isDigit: Bool { (0x30...0x39).contains(self) }
  fileprivate var isLetter: Bool { (0x61...0x7a).contains(self | 0x20) }
}
