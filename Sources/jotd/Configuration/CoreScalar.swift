/// A plain scalar as YAML's core schema resolves it (YAML 1.2.2, 10.3.2).
enum CoreScalar {
  case null
  case bool(Bool)
  /// A number in JSON's notation (RFC 8259 section 6).
  case integer(String)
  case float(String)
  /// `.inf` and `.nan`, which JSON has not; and integers that no 64 bits hold in base 8 or 16.
  case notInJSON
  case string(String)

  init(_ text: String) {
    switch text {
    case "", "~", "null", "Null", "NULL": self = .null
    case "true", "True", "TRUE": self = .bool(true)
    case "false", "False", "FALSE": self = .bool(false)
    case ".nan", ".NaN", ".NAN": self = .notInJSON
    default: self = CoreScalar.number(text) ?? .string(text)
    }
  }

  /// The name of its tag, after `tag:yaml.org,2002:`.
  var tag: String {
    switch self {
    case .null: "null"
    case .bool: "bool"
    case .integer: "int"
    case .float, .notInJSON: "float"
    case .string: "str"
    }
  }

  private static func number(_ text: String) -> CoreScalar? {
    for (prefix, radix) in [("0o", 8), ("0x", 16)] where text.hasPrefix(prefix) {
      let digits = text.dropFirst(2)
      guard !digits.isEmpty, digits.allSatisfy({ $0.isASCII && $0.isHexDigit }),
        digits.allSatisfy({ $0.hexDigitValue! < radix })
      else { return nil }
      return UInt64(digits, radix: radix).map { .integer(String($0)) } ?? .notInJSON
    }
    var rest = Substring(text)
    let isNegative = rest.first == "-"
    if isNegative || rest.first == "+" { rest = rest.dropFirst() }
    if [".inf", ".Inf", ".INF"].contains(rest) { return .notInJSON }
    let sign = isNegative ? "-" : ""
    let whole = rest.prefix(while: \.isDecimalDigit)
    rest = rest.dropFirst(whole.count)
    if rest.isEmpty, !whole.isEmpty { return .integer(sign + trimmed(whole)) }
    var fraction: Substring = ""
    if rest.first == "." {
      fraction = rest.dropFirst().prefix(while: \.isDecimalDigit)
      rest = rest.dropFirst(1 + fraction.count)
    }
    guard !whole.isEmpty || !fraction.isEmpty else { return nil }
    guard let exponent = exponent(rest) else { return nil }
    let number = sign + trimmed(whole) + (fraction.isEmpty ? "" : ".\(fraction)") + exponent
    guard Double(number)?.isFinite == true else { return .notInJSON }
    // A float stays one for readers who tell 1.0 from 1.
    return .float(fraction.isEmpty && exponent.isEmpty ? number + ".0" : number)
  }

  /// `e` with an optional sign and digits; empty for nothing, nil for something else.
  private static func exponent(_ text: Substring) -> String? {
    guard let first = text.first else { return "" }
    guard first == "e" || first == "E" else { return nil }
    var digits = text.dropFirst()
    if digits.first == "-" || digits.first == "+" { digits = digits.dropFirst() }
    guard !digits.isEmpty, digits.allSatisfy(\.isDecimalDigit) else { return nil }
    return String(text)
  }

  /// Without leading zeros, which JSON forbids; `0` for nothing.
  private static func trimmed(_ digits: Substring) -> String {
    let rest = digits.drop { $0 == "0" }
    return rest.isEmpty ? "0" : String(rest)
  }
}

extension Character {
  fileprivate var isDecimalDigit: Bool { isASCII && isNumber }
}
