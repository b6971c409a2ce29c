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
    var rest = Substring(text).drop(while: \.isBlank)
    guard !rest.isEmpty else { return nil }
    var total: Int64 = 0
    while !rest.isEmpty {
      let number = rest.prefix { $0.isDigit || $0 == "." }
      rest = rest.dropFirst(number.count).drop(while: \.isBlank)
      let unit = rest.prefix { $0.isASCII && $0.isLetter || $0 == "µ" || $0 == "μ" }
      rest = rest.dropFirst(unit.count).drop(while: \.isBlank)
      guard
        let scale = unit.isEmpty ? 1_000_000 : timeUnits[String(unit)],
        let part = product(number, scale)
      else { return nil }
      total += part
      guard total <= 1_000_000_000_000_000 else { return nil }
    }
    self = .microseconds(total)
  }

  /// The span in its largest units, as systemd prints it and `init(timeSpan:)` reads it:
  /// `1d 2h`, `30min`, `1.5s`. Exact to the microsecond.
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

/// systemd.time(7), "Parsing Time Spans": microseconds to a unit.
private let timeUnits: [String: Int64] = {
  let units: [(names: [String], seconds: Int64)] = [
    (["seconds", "second", "sec", "s"], 1),
    (["minutes", "minute", "min", "m"], 60),
    (["hours", "hour", "hr", "h"], 3_600),
    (["days", "day", "d"], 86_400),
    (["weeks", "week", "w"], 604_800),
    (["months", "month", "M"], 2_629_800),
    (["years", "year", "y"], 31_557_600),
  ]
  var table: [String: Int64] = ["msec": 1_000, "ms": 1_000]
  for name in ["usec", "us", "µs", "μs"] { table[name] = 1 }
  for unit in units { for name in unit.names { table[name] = unit.seconds * 1_000_000 } }
  return table
}()

/// A decimal number times a scale, without binary rounding; nil when it is none or too large.
private func product(_ number: Substring, _ scale: Int64) -> Int64? {
  let parts = number.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
  guard parts[0].count + (parts.count > 1 ? parts[1].count : 0) > 0, parts[0].count <= 15 else {
    return nil
  }
  guard let count = parts[0].isEmpty ? 0 : Int64(parts[0]) else { return nil }
  let (whole, overflow) = count.multipliedReportingOverflow(by: scale)
  guard !overflow, whole <= 1_000_000_000_000_000 else { return nil }
  guard parts.count > 1, !parts[1].isEmpty else { return whole }
  guard parts[1].count <= 6, let fraction = Int64(parts[1]) else { return nil }
  var divisor: Int64 = 1
  for _ in parts[1] { divisor *= 10 }
  // The product of the two can need more than 64 bits; the quotient is less than the scale.
  return whole + divisor.dividingFullWidth(fraction.multipliedFullWidth(by: scale)).quotient
}

extension Character {
  fileprivate var isBlank: Bool { self == " " || self == "\t" }
  fileprivate var isDigit: Bool { self >= "0" && self <= "9" && isASCII }
}
