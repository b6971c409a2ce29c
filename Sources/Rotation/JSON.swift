/// A JSON value (RFC 8259) whose members keep their order and whose numbers keep their text.
///
/// Our own reader, because a token with a duplicate claim name must be refused (RFC 7519 section
/// 4 leaves it to the implementation; last-one-wins is an attack), and no decoder of Foundation
/// tells. Our own writer, because claim bytes must be the same at every minting.
package enum JSON: Sendable {
  case null
  case bool(Bool)
  /// A number, as RFC 8259 section 6 writes it.
  case number(String)
  case string(String)
  case array([JSON])
  case object([Member])

  package struct Member: Sendable {
    package let name: String
    package let value: JSON

    package init(_ name: String, _ value: JSON) {
      self.name = name
      self.value = value
    }
  }

  package static func number(_ value: Int64) -> JSON { .number(String(value)) }

  /// The member called `name`, compared byte for byte; nil when there is none or this is no object.
  package subscript(name: String) -> JSON? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.name.utf8.elementsEqual(name.utf8) }?.value
  }
}

extension JSON {
  /// Whether every number in it is one that readers with IEEE 754 doubles can hold.
  var hasFiniteNumbers: Bool {
    switch self {
    case .number(let text): Double(text)?.isFinite == true
    case .array(let elements): elements.allSatisfy(\.hasFiniteNumbers)
    case .object(let members): members.allSatisfy(\.value.hasFiniteNumbers)
    default: true
    }
  }
}

// MARK: Writing

extension JSON {
  /// Appends the value without any white space.
  package func append(to bytes: inout [UInt8]) {
    switch self {
    case .null: bytes += "null".utf8
    case .bool(let value): bytes += (value ? "true" : "false").utf8
    case .number(let text): bytes += text.utf8
    case .string(let text): JSON.append(text, to: &bytes)
    case .array(let elements):
      bytes.append(UInt8(ascii: "["))
      for (index, element) in elements.enumerated() {
        if index > 0 { bytes.append(UInt8(ascii: ",")) }
        element.append(to: &bytes)
      }
      bytes.append(UInt8(ascii: "]"))
    case .object(let members):
      bytes.append(UInt8(ascii: "{"))
      for (index, member) in members.enumerated() {
        if index > 0 { bytes.append(UInt8(ascii: ",")) }
        member.append(to: &bytes)
      }
      bytes.append(UInt8(ascii: "}"))
    }
  }

  /// The value on one line, as UTF-8 text.
  package var text: String {
    var bytes: [UInt8] = []
    append(to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Whether a string of these bytes is written as it is.
  private static func isPlain(_ bytes: Span<UInt8>) -> Bool {
    for index in bytes.indices {
      switch bytes[index] {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"), 0x00..<0x20, 0x7f...: return false
      default: break
      }
    }
    return true
  }

  /// Appends a string with its quotation marks. Escapes what RFC 8259 section 7 requires, and
  /// what could steer a terminal that shows it: DEL, C1 controls, and the characters that turn
  /// the direction of writing.
  fileprivate static func append(_ text: String, to bytes: inout [UInt8]) {
    bytes.append(UInt8(ascii: "\""))
    // Most texts have nothing to escape.
    if isPlain(text.utf8Span.span) {
      bytes += text.utf8
      bytes.append(UInt8(ascii: "\""))
      return
    }
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": bytes += "\\\"".utf8
      case "\\": bytes += "\\\\".utf8
      case "\n": bytes += "\\n".utf8
      case "\r": bytes += "\\r".utf8
      case "\t": bytes += "\\t".utf8
      case "\0"..<" ", "\u{7f}"..<"\u{a0}", "\u{61c}", "\u{200e}"..."\u{200f}",
        "\u{2028}"..."\u{202e}", "\u{2066}"..."\u{2069}":
        let hexadecimal = String(scalar.value, radix: 16)
        bytes += "\\u".utf8
        bytes += String(repeating: "0", count: 4 - hexadecimal.utf8.count).utf8
        bytes += hexadecimal.utf8
      default: bytes += UTF8.encode(scalar)!
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }
}

extension JSON.Member {
  /// Appends `"name":value`.
  package func append(to bytes: inout [UInt8]) {
    JSON.append(name, to: &bytes)
    bytes.append(UInt8(ascii: ":"))
    value.append(to: &bytes)
  }
}
