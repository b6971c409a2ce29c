import Rotation
import Synchronization

/// Names of the files that are written before they are renamed: `.NAME.0123456789abcdef.jotd`.
enum TemporaryName {
  private static let suffix = ".jotd"
  private static let digits = 16
  /// Bytes of the target's name that are kept: with the rest they fit NAME_MAX.
  private static let stemBytes = Limits.nameBytes - digits - suffix.utf8.count - 2

  /// Begins anywhere, so that names cannot be foreseen; counts on, so that they do not repeat.
  private static let first = UInt64.random(in: 0 ... .max)
  private static let counter = Atomic<UInt64>(first)

  static func next(for name: String) -> String {
    let (number, _) = counter.add(1, ordering: .relaxed)
    let hexadecimal = String(number, radix: 16)
    let padding = String(repeating: "0", count: digits - hexadecimal.utf8.count)
    return ".\(stem(name)).\(padding)\(hexadecimal)\(suffix)"
  }

  /// Whether this process made a temporary file with that number: then it may be in use.
  static func isOfThisRun(_ number: UInt64) -> Bool {
    number &- first <= counter.load(ordering: .relaxed) &- first
  }

  /// The stem in the name of a temporary file, in bytes, and its number; nil when `name` is no such
  /// name.
  static func parts(of name: String) -> (stem: [UInt8], number: UInt64)? {
    let bytes = Array(name.utf8)[...]
    guard let number = number(of: bytes) else { return nil }
    return (Array(bytes.dropFirst().dropLast(1 + digits + suffix.utf8.count)), number)
  }

  /// The number in the name of a temporary file; nil when `name` is no such name.
  static func number(of name: ArraySlice<UInt8>) -> UInt64? {
    let bytes = name.span
    let begin = bytes.count - suffix.utf8.count - digits
    let dot = UInt8(ascii: ".")
    guard begin >= 2, bytes[0] == dot, bytes[begin - 1] == dot else { return nil }
    var number: UInt64 = 0
    for index in begin..<begin + digits {
      switch bytes[index] {
      case let digit where (0x30...0x39).contains(digit):
        number = number << 4 | UInt64(digit - 0x30)
      case let letter where (0x61...0x66).contains(letter):
        number = number << 4 | UInt64(letter - 0x61 + 10)
      default: return nil
      }
    }
    let end = suffix.utf8.span
    for index in end.indices where bytes[begin + digits + index] != end[index] { return nil }
    return number
  }

  /// The target's name, or as many of its characters as fit.
  static func stem(_ name: String) -> String {
    if name.utf8.count <= stemBytes { return name }
    var bytes = 0
    let kept = name.unicodeScalars.prefix { scalar in
      bytes += UTF8.width(scalar)
      return bytes <= stemBytes
    }
    return String(String.UnicodeScalarView(kept))
  }
}
