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
    let bytes = text.utf8Span.span
    var position = 0
    func skip(_ isOne: (UInt8) -> Bool) -> Range<Int> {
      let start = position
      while position < bytes.count, isOne(bytes[position]) { position += 1 }
      return start..<position
    }
    _ = skip(\.isBlank)
    guard position < bytes.count else { return nil }
    var total: Int64 = 0
    while position < bytes.count {
      let whole = skip(\.isDigit)
      let hasPoint = position < bytes.count && bytes[position] == UInt8(ascii: ".")
      if hasPoint { position += 1 }
      let fraction = hasPoint ? skip(\.isDigit) : position..<position
      if hasPoint, position < bytes.count, bytes[position] == UInt8(ascii: ".") { return nil }
      _ = skip(\.isBlank)
      // What is no letter of ASCII is the first of "µs", or of no unit.
      let unit = skip { $0.isLetter || $0 >= 0x80 }
      _ = skip(\.isBlank)
      guard let scale = scale(of: bytes.extracting(unit)),
        let part = product(bytes.extracting(whole), bytes.extracting(fraction), scale)
      else { return nil }
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
private func scale(of unit: Span<UInt8>) -> Int64? {
  guard unit.count == 1 else {
    guard !unit.isEmpty else { return 1_000_000 }
    return timeUnits[String(decoding: unit.indices.map { unit[$0] }, as: UTF8.self)]
  }
  // The commonest.
  switch unit[0] {
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

/// A decimal number, by the digits before its point and those behind it, times a scale, without
/// binary rounding; nil when it is none or too large.
private func product(_ whole: Span<UInt8>, _ fraction: Span<UInt8>, _ scale: Int64) -> Int64? {
  guard whole.count + fraction.count > 0, whole.count <= 15, fraction.count <= 6 else { return nil }
  let (units, overflow) = value(whole).multipliedReportingOverflow(by: scale)
  guard !overflow, units <= 1_000_000_000_000_000 else { return nil }
  if fraction.isEmpty { return units }
  var divisor: Int64 = 1
  for _ in fraction.indices { divisor *= 10 }
  // The product of the two can need more than 64 bits; the quotient is less than the scale.
  let part = divisor.dividingFullWidth(value(fraction).multipliedFullWidth(by: scale)).quotient
  return units + part
}

/// The value of digits that 64 bits hold.
private func value(_ digits: Span<UInt8>) -> Int64 {
  digits.indices.reduce(0) { $0 * 10 + Int64(digits[$1] - 0x30) }
}

extension UInt8 {
  fileprivate var isBlank: Bool { self == 0x20 || self == 0x09 }
  fileprivate var isDigit: Bool { (0x30...0x39).contains(self) }
  fileprivate var isLetter: Bool { (0x61...0x7a).contains(self | 0x20) }
}
