extension JSON {
  /// Reads exactly one value. Refuses what RFC 8259 refuses, invalid UTF-8, lone surrogates,
  /// duplicate member names at any depth, and nesting deeper than `Limits.nesting`, which counts
  /// the `outer` collections that the value is to stand in.
  package init(parsing bytes: [UInt8], inside outer: Int = 0) throws(Failure) {
    var reader = JSONReader(bytes: bytes, deepest: Limits.nesting - outer)
    self = try reader.document()
  }
}

private struct JSONReader {
  let bytes: [UInt8]
  let deepest: Int
  var position = 0
  var depth = 0

  init(bytes: [UInt8], deepest: Int) {
    self.bytes = bytes
    self.deepest = deepest
  }

  mutating func document() throws(Failure) -> JSON {
    skipWhiteSpace()
    let value = try value()
    skipWhiteSpace()
    guard position == bytes.count else { throw fault("something follows the JSON value") }
    return value
  }

  private func fault(_ detail: String) -> Failure {
    Failure("\(detail) (at byte \(position))")
  }

  private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

  private mutating func skipWhiteSpace() {
    while let byte = next, byte == 0x20 || byte == 0x09 || byte == 0x0a || byte == 0x0d {
      position += 1
    }
  }

  private mutating func take(_ character: Unicode.Scalar) -> Bool {
    guard next == UInt8(ascii: character) else { return false }
    position += 1
    return true
  }

  private mutating func value() throws(Failure) -> JSON {
    switch next {
    case UInt8(ascii: "{"): return try nested { (reader) throws(Failure) in try reader.object() }
    case UInt8(ascii: "["): return try nested { (reader) throws(Failure) in try reader.array() }
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    case nil: throw fault("the JSON text ends early")
    default: return .number(try number())
    }
  }

  private mutating func nested(
    _ read: (inout JSONReader) throws(Failure) -> JSON
  ) throws(Failure) -> JSON {
    depth += 1
    guard depth <= deepest else { throw fault("JSON is nested more than \(deepest) deep") }
    position += 1
    let value = try read(&self)
    depth -= 1
    return value
  }

  private mutating func word(_ word: String, _ value: JSON) throws(Failure) -> JSON {
    guard bytes[position...].starts(with: word.utf8) else { throw fault("not a JSON value") }
    position += word.utf8.count
    return value
  }

  private mutating func object() throws(Failure) -> JSON {
    var members: [JSON.Member] = []
    var names: Set<[UInt8]> = []
    skipWhiteSpace()
    if take("}") { return .object(members) }
    repeat {
      skipWhiteSpace()
      guard next == UInt8(ascii: "\"") else { throw fault("a member name must be a string") }
      let name = try string()
      guard names.insert(Array(name.utf8)).inserted else {
        throw fault("a member name occurs twice in one object")
      }
      skipWhiteSpace()
      guard take(":") else { throw fault("a colon must follow a member name") }
      skipWhiteSpace()
      members.append(JSON.Member(name, try value()))
      skipWhiteSpace()
    } while take(",")
    guard take("}") else { throw fault("an object must end with }") }
    return .object(members)
  }

  private mutating func array() throws(Failure) -> JSON {
    var elements: [JSON] = []
    skipWhiteSpace()
    if take("]") { return .array(elements) }
    repeat {
      skipWhiteSpace()
      elements.append(try value())
      skipWhiteSpace()
    } while take(",")
    guard take("]") else { throw fault("an array must end with ]") }
    return .array(elements)
  }

  private mutating func number() throws(Failure) -> String {
    let start = position
    _ = take("-")
    if !take("0") {
      guard digits() else { throw fault("not a JSON value") }
    }
    if take(".") {
      guard digits() else { throw fault("a digit must follow the decimal point") }
    }
    if take("e") || take("E") {
      _ = take("+") || take("-")
      guard digits() else { throw fault("a digit must follow the exponent sign") }
    }
    return String(decoding: bytes[start..<position], as: UTF8.self)
  }

  private mutating func digits() -> Bool {
    let start = position
    while let byte = next, (0x30...0x39).contains(byte) { position += 1 }
    return position > start
  }

  private mutating func string() throws(Failure) -> String {
    position += 1
    var content: [UInt8] = []
    while let byte = next {
      position += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let text = String(validating: content, as: UTF8.self) else {
          throw fault("a string is not UTF-8")
        }
        return text
      case UInt8(ascii: "\\"): try escape(into: &content)
      case 0..<0x20: throw fault("a control character in a string must be escaped")
      default: content.append(byte)
      }
    }
    throw fault("a string must end with a quotation mark")
  }

  private mutating func escape(into content: inout [UInt8]) throws(Failure) {
    guard let byte = next else { throw fault("the JSON text ends early") }
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): content.append(byte)
    case UInt8(ascii: "b"): content.append(0x08)
    case UInt8(ascii: "f"): content.append(0x0c)
    case UInt8(ascii: "n"): content.append(0x0a)
    case UInt8(ascii: "r"): content.append(0x0d)
    case UInt8(ascii: "t"): content.append(0x09)
    case UInt8(ascii: "u"):
      var code = UInt32(try fourHexadecimalDigits())
      if (0xd800..<0xdc00).contains(code) {
        guard take("\\"), take("u") else { throw fault("a lone surrogate in a string") }
        let low = UInt32(try fourHexadecimalDigits())
        guard (0xdc00..<0xe000).contains(low) else { throw fault("a lone surrogate in a string") }
        code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00)
      }
      guard let scalar = Unicode.Scalar(code) else { throw fault("a lone surrogate in a string") }
      content += UTF8.encode(scalar)!
    default: throw fault("an unknown escape in a string")
    }
  }

  private mutating func fourHexadecimalDigits() throws(Failure) -> UInt16 {
    var value: UInt16 = 0
    for _ in 0..<4 {
      guard let byte = next, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
        throw fault("four hexadecimal digits must follow \\u")
      }
      value = value << 4 | UInt16(digit)
      position += 1
    }
    return value
  }
}
