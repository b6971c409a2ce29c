/// A plain scalar as YAML's core schema resolves it (YAML 1.2.2, 10.3.2).
enum CoreScalar {
  case null
  case bool(Bool)
  /// A number in JSON's notation (RFC 8259 section 6).
  case integer(String)
  case float(String)
  /// What is not put into JSON: `.inf`, `.nan`, floats beyond a double's range, and integers in
  /// base 8 or 16 that no 64 bits hold.
  case notInJSON
  case string(String)

  init(_ text: String) {
    // What the schema resolves begins with one of these; most scalars do not.
    if let first = text.utf8.first, !CoreScalar.beginsOther(first) {
      self = .string(text)
      return
    }
    switch text {
    case "", "~", "null", "Null", "NULL": self = .null
    case "true", "True", "TRUE": self = .bool(true)
    case "false", "False", "FALSE": self = .bool(false)
    case ".nan", ".NaN", ".NAN": self = .notInJSON
    default: self = CoreScalar.number(text) ?? .string(text)
    }
  }

  /// Whether what begins so may be anything but a string.
  private static func beginsOther(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "~"), UInt8(ascii: "n"), UInt8(ascii: "N"), UInt8(ascii: "t"),
      UInt8(ascii: "T"), UInt8(ascii: "f"), UInt8(ascii: "F"), UInt8(ascii: "."),
      UInt8(ascii: "+"), UInt8(ascii: "-"):
      true
    default: byte.isDigit
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
    // Most scalars are words, and no number begins as they do.
    guard let first = text.utf8.first, first.isDigit || "+-.".utf8.contains(first) else {
      return nil
    }
    for (prefix, radix) in [("0o", 8), ("0x", 16)] where text.utf8.starts(with: prefix.utf8) {
      let digits = text.utf8.dropFirst(2)
      guard !digits.isEmpty, digits.allSatisfy({ $0.value(inRadix: radix) != nil }) else {
        return nil
      }
      return UInt64(String(Substring(digits)), radix: radix).map { .integer(String($0)) }
        ?? .notInJSON
    }
    var rest = text.utf8[...]
    let isNegative = first == UInt8(ascii: "-")
    if isNegative || first == UInt8(ascii: "+") { rest = rest.dropFirst() }
    if [".inf", ".Inf", ".INF"].contains(where: { rest.elementsEqual($0.utf8) }) {
      return .notInJSON
    }
    let sign = isNegative ? "-" : ""
    let whole = rest.prefix(while: \.isDigit)
    rest = rest.dropFirst(whole.count)
    if rest.isEmpty, !whole.isEmpty { return .integer(sign + trimmed(whole)) }
    var fraction = rest.prefix(0)
    if rest.first == UInt8(ascii: ".") {
      fraction = rest.dropFirst().prefix(while: \.isDigit)
      rest = rest.dropFirst(1 + fraction.count)
    }
    guard !whole.isEmpty || !fraction.isEmpty else { return nil }
    guard let exponent = exponent(rest) else { return nil }
    let number =
      sign + trimmed(whole) + (fraction.isEmpty ? "" : ".\(Substring(fraction))") + exponent
    guard Double(number)?.isFinite == true else { return .notInJSON }
    // A float stays one for readers who tell 1.0 from 1.
    return .float(fraction.isEmpty && exponent.isEmpty ? number + ".0" : number)
  }

  /// `e` with an optional sign and digits; empty for nothing, nil for something else.
  private static func exponent(_ text: Substring.UTF8View) -> String? {
    guard let first = text.first else { return "" }
    guard first | 0x20 == UInt8(ascii: "e") else { return nil }
    var digits = text.dropFirst()
    if let sign = digits.first, "+-".utf8.contains(sign) { digits = digits.dropFirst() }
    guard !digits.isEmpty, digits.allSatisfy(\.isDigit) else { return nil }
    return String(Substring(text))
  }

  /// Without leading zeros, which JSON forbids; `0` for nothing.
  private static func trimmed(_ digits: Substring.UTF8View) -> String {
    let rest = digits.drop { $0 == UInt8(ascii: "0") }
    return rest.isEmpty ? "0" : String(Substring(rest))
  }
}

extension UInt8 {
  fileprivate var isDigit: Bool { (0x30...0x39).contains(self) }

  /// What it counts as a digit of that radix, up to 16; nil when it is none.
  fileprivate func value(inRadix radix: Int) -> Int? {
    Character(Unicode.Scalar(self)).hexDigitValue.flatMap { $0 < radix ? $0 : nil }
  }
}
