/// How much life a token must have left, as `refresh_before` says it: a span, or a share of the
/// token's lifetime.
package enum Threshold: Equatable, Sendable {
  case span(Duration)
  /// In millionths of the lifetime, from 0 to below 1,000,000.
  case share(millionths: Int64)

  /// Reads a span of systemd.time(7), `1h`, or a percentage below 100 with up to four decimals,
  /// `20%`; nil for anything else.
  package init?(_ text: String) {
    guard text.utf8.last == UInt8(ascii: "%") else {
      guard let span = Duration(timeSpan: text) else { return nil }
      self = .span(span)
      return
    }
    let parts = text.utf8.dropLast().split(
      separator: UInt8(ascii: "."), maxSplits: 1, omittingEmptySubsequences: false)
    let isNumber = parts.allSatisfy { part in
      (1...4).contains(part.count) && part.allSatisfy { (0x30...0x39).contains($0) }
    }
    guard isNumber else { return nil }
    // A hundredth has four decimals less than a millionth.
    let decimals = parts.count == 2 ? String(Substring(parts[1])) : ""
    let digits = String(Substring(parts[0])) + decimals
    guard let number = Int64(digits + String(repeating: "0", count: 4 - decimals.utf8.count)),
      number < 1_000_000
    else { return nil }
    self = .share(millionths: number)
  }

  /// What it is for a token of this lifetime, to the microsecond.
  package func span(of lifetime: Duration) -> Duration {
    switch self {
    case .span(let span): return span
    case .share(let millionths):
      // The product can need more than 64 bits; the quotient is less than the lifetime.
      let product = max(0, lifetime.microseconds).multipliedFullWidth(by: millionths)
      return .microseconds((1_000_000 as Int64).dividingFullWidth(product).quotient)
    }
  }
}
