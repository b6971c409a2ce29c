/// base64url without padding (RFC 7515 section 2, RFC 4648 section 5), strict both ways.
package enum Base64URL {
  private static let alphabet = Array(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

  /// Value of each byte as a digit, 255 for the others.
  private static let values: [UInt8] = {
    var table = [UInt8](repeating: 255, count: 256)
    for (value, digit) in alphabet.enumerated() { table[Int(digit)] = UInt8(value) }
    return table
  }()

  package static func isDigit(_ byte: UInt8) -> Bool { values[Int(byte)] != 255 }

  /// Digits in the encoding of `count` bytes.
  static func digits(for count: Int) -> Int { (count * 4 + 2) / 3 }

  /// Appends the encoding of `bytes` to `text`.
  package static func append(_ bytes: [UInt8], to text: inout [UInt8]) {
    let digits = alphabet
    var place = text.count
    // In place: to append each digit by itself would ask for room each time.
    text += repeatElement(0, count: self.digits(for: bytes.count))
    var index = 0
    while index + 2 < bytes.count {
      let group =
        UInt32(bytes[index]) << 16 | UInt32(bytes[index + 1]) << 8 | UInt32(bytes[index + 2])
      text[place] = digits[Int(group >> 18)]
      text[place + 1] = digits[Int(group >> 12 & 63)]
      text[place + 2] = digits[Int(group >> 6 & 63)]
      text[place + 3] = digits[Int(group & 63)]
      index += 3
      place += 4
    }
    switch bytes.count - index {
    case 1:
      text[place] = digits[Int(bytes[index] >> 2)]
      text[place + 1] = digits[Int(bytes[index] << 4 & 63)]
    case 2:
      let group = UInt32(bytes[index]) << 8 | UInt32(bytes[index + 1])
      text[place] = digits[Int(group >> 10)]
      text[place + 1] = digits[Int(group >> 4 & 63)]
      text[place + 2] = digits[Int(group << 2 & 63)]
    default: break
    }
  }

  /// The bytes that `text` encodes; nil for a foreign character (padding and line breaks too), an
  /// impossible length, or stray bits after the last byte.
  package static func decode(_ text: some Collection<UInt8>) -> [UInt8]? {
    guard text.count % 4 != 1 else { return nil }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.count * 3 / 4)
    var group: UInt32 = 0
    var bits = 0
    for digit in text {
      let value = values[Int(digit)]
      guard value != 255 else { return nil }
      group = group << 6 | UInt32(value)
      bits += 6
      if bits >= 8 {
        bits -= 8
        bytes.append(UInt8(truncatingIfNeeded: group >> UInt32(bits)))
      }
    }
    return group & (1 << UInt32(bits) - 1) == 0 ? bytes : nil
  }
}
