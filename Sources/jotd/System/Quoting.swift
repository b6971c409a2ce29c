import Rotation

/// What an error may repeat of a configuration. A secret can stand anywhere in it by mistake: as a
/// key, a path, a name, a tag. So nothing is repeated but what has the form of a word or of a path
/// of words; of everything else, the length is told. Where it stands is in every error.
enum Quoting {
  /// What is shorter is too short to be part of a secret.
  private static let harmlessBytes = 7
  /// A word by itself: half of the shortest secret (RFC 7518 section 3.2).
  private static let wordBytes = 16
  /// Bytes of a name in a path: less than the shortest secret. A variable may have `harmlessBytes`
  /// more, in parts of `wordBytes` at most.
  private static let nameBytes = 31

  /// Whether a text is a word.
  static func isWord(_ text: String) -> Bool { isWord(text.utf8, wordBytes) }

  /// Whether a text is a name as it may stand in a path.
  static func isName(_ text: some Collection<UInt8>) -> Bool { isWord(text, nameBytes) }

  /// Whether a text is a path of names.
  static func isPath(_ text: String) -> Bool {
    text.utf8.contains(UInt8(ascii: "/"))
      && text.utf8.split(separator: UInt8(ascii: "/")).allSatisfy { isWord($0, nameBytes) }
  }

  /// Whether a text is a variable's name in capitals, as is the custom.
  static func isVariable(_ text: String) -> Bool {
    text.utf8.allSatisfy {
      (0x41...0x5a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5f
    } && text.utf8.count <= nameBytes + harmlessBytes
      && text.utf8.split(separator: UInt8(ascii: "_")).allSatisfy { isWord($0, wordBytes) }
  }

  /// A text in quotes if it is a word or a path, and hidden otherwise.
  static func quoted(_ text: String) -> String {
    isWord(text) || isPath(text) ? JSON.string(text).text : hidden(text)
  }

  /// A text that must not be repeated.
  static func hidden(_ text: String) -> String { "(\(text.utf8.count) bytes, not shown)" }

  /// Whether it is made of letters, digits and what joins them, and changes between capitals,
  /// small letters and digits seldom, as words do and random characters do not.
  private static func isWord(_ text: some Collection<UInt8>, _ limit: Int) -> Bool {
    if text.count <= harmlessBytes { return true }
    guard text.count <= limit else { return false }
    var (changes, characters, last) = (0, 0, 0)
    for byte in text {
      let kind: Int
      switch byte {
      case 0x30...0x39: kind = 1
      case 0x41...0x5a: kind = 2
      case 0x61...0x7a: kind = 3
      case UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "@"),
        UInt8(ascii: ":"):
        continue
      default: return false
      }
      characters += 1
      if last != 0, kind != last { changes += 1 }
      last = kind
    }
    return changes * 3 <= characters
  }
}
