import Rotation

/// `text`, which may come from anybody, as a log, an error or a status page may show it: bounded,
/// on one line, without what steers a terminal or turns the direction of writing, and without
/// anything that looks like a token.
///
/// - Line breaks become semicolons, or stay with `keepingLines`; tabs become spaces; what is
///   invisible, unassigned or private is escaped as `\u{202e}`.
/// - A word with `eyJ` in it, how every JWS and JWE begins (RFC 7515, RFC 7516), is masked whole,
///   and so is one with a piece that is dense in the way of base64url: a token that was cut.
///   Quotes, escapes and line breaks inside a token do not hide it.
/// - The result has at most `limit` bytes, and says when something was cut.
func redacted(
  _ text: String, upTo limit: Int = Limits.shownBytes, keepingLines: Bool = false
) -> String {
  if text.utf8.count <= limit, Redaction.isHarmless(text) { return text }
  var redaction = Redaction(keepingLines: keepingLines)
  // A little more than can be shown, so that a token is known that the limit cuts.
  let scalars = Array(text.unicodeScalars.prefix(limit + 128))
  var index = 0
  while index < scalars.count {
    let (read, length) = Redaction.unescaped(scalars[index...])
    redaction.take(scalars[index..<(index + length)], meaning: read)
    index += length
  }
  let isWhole = text.unicodeScalars.dropFirst(scalars.count).isEmpty
  return redaction.finish(upTo: limit, isWhole: isWhole)
}

/// Builds the text that may be shown, word by word.
private struct Redaction {
  private static let mask = "(a token, not shown)"
  /// Shorter pieces are names.
  private static let shortestPiece = 24
  /// A line of a token that was broken into lines has at least as many characters.
  private static let shortestLine = 16

  private let keepingLines: Bool
  private var shown = ""
  /// The word that is being read, as it would be shown, and what follows it that does not end it.
  private var word = ""
  private var tail = ""
  /// The characters of the word that a token could have.
  private var letters: [UInt8] = []
  /// How many of them stand in the present line.
  private var lettersInLine = 0

  init(keepingLines: Bool) { self.keepingLines = keepingLines }

  /// Whether a text can be shown as it is, at a glance: most can.
  static func isHarmless(_ text: String) -> Bool {
    let kinds = kinds
    var run = 0
    var (last, beforeLast): (UInt8, UInt8) = (0, 0)
    let bytes = text.utf8Span.span
    for index in bytes.indices {
      let byte = bytes[index]
      switch kinds[Int(byte)] {
      case .harmful: return false
      case .other: run = 0
      case .letter:
        run += 1
        if run >= shortestPiece { return false }
        if byte == UInt8(ascii: "J"), last == UInt8(ascii: "y"), beforeLast == UInt8(ascii: "e") {
          return false
        }
      }
      (beforeLast, last) = (last, byte)
    }
    return true
  }

  private enum Kind { case letter, other, harmful }

  /// What each byte is to `isHarmless`: a letter that a part of a token can have, something that is
  /// shown as it is, or something that is not.
  private static let kinds: [Kind] = (0...255).map { (byte: UInt8) in
    guard byte >= 0x20, byte < 0x7f, !isQuote(Unicode.Scalar(byte)) else { return .harmful }
    return isLetter(byte) && byte != UInt8(ascii: ".") ? .letter : .other
  }

  /// Takes one character as it is written in the text, and as what it is read.
  mutating func take(_ written: ArraySlice<Unicode.Scalar>, meaning scalar: Unicode.Scalar) {
    let piece = written.map(presented).joined()
    if scalar.isASCII, Redaction.isLetter(UInt8(scalar.value)) {
      word += tail + piece
      tail = ""
      letters.append(UInt8(scalar.value))
      lettersInLine += 1
    } else if scalar == "\n" || scalar == "\r" {
      // A return ends no word: it may stand inside a token, or before the feed that ends its line.
      if scalar == "\n" {
        if lettersInLine < Redaction.shortestLine { endWord() }
        lettersInLine = 0
      }
      if keepingLines { if scalar == "\n" { join(piece) } } else { joinLines() }
    } else if Redaction.isQuote(scalar) || scalar.isInvisible && scalar != "\t" {
      join(piece)
    } else {
      endWord()
      shown += piece
    }
  }

  /// The whole of it, in at most `limit` bytes; `isWhole`: nothing of the text was left out.
  mutating func finish(upTo limit: Int, isWhole: Bool) -> String {
    endWord()
    maskWhatReadsLikeToken()
    if !keepingLines {
      for end in ["; ", " "] where shown.hasSuffix(end) { shown.removeLast(end.count) }
      if shown.hasPrefix("; ") { shown.removeFirst(2) }
    }
    guard !isWhole || shown.utf8.count > limit else { return shown }
    let mark = "... (cut here)"
    var room = limit - mark.utf8.count
    let kept = shown.unicodeScalars.prefix { scalar in
      room -= UTF8.width(scalar)
      return room >= 0
    }
    return String(kept) + mark
  }

  /// Joins two lines to one, by a semicolon where the first has no mark at its end.
  private mutating func joinLines() {
    let before = tail.isEmpty ? (letters.isEmpty ? shown : word) : tail
    guard let last = before.utf8.last else { return }
    let isMarked = ".;:,!?".utf8.contains(last)
    if !before.hasSuffix("; ") { join(isMarked ? " " : "; ") }
  }

  /// Takes what does not end a word.
  private mutating func join(_ piece: String) {
    if letters.isEmpty { shown += piece } else { tail += piece }
  }

  /// Masks what reads like a token as it is shown, though not where its escapes are undone, such as
  /// `%7eyJ...`.
  private mutating func maskWhatReadsLikeToken() {
    var rest = Array(shown.utf8)[...]
    var masked = ""
    while let start = rest.indices.first(where: { rest[$0...].starts(with: "eyJ".utf8) }) {
      masked += String(decoding: rest[..<start], as: UTF8.self) + Redaction.mask
      rest = rest[start...].drop(while: Redaction.isLetter)
    }
    if !masked.isEmpty { shown = masked + String(decoding: rest, as: UTF8.self) }
  }

  private mutating func endWord() {
    shown += Redaction.looksLikeToken(letters) ? Redaction.mask : word
    shown += tail
    (word, tail, letters, lettersInLine) = ("", "", [], 0)
  }

  private func presented(_ scalar: Unicode.Scalar) -> String {
    switch scalar {
    case "\n", "\r": keepingLines ? "\n" : "; "
    case "\t": " "
    default: scalar.isInvisible ? "\\u{\(String(scalar.value, radix: 16))}" : String(scalar)
    }
  }

  // MARK: What is a token

  /// Letters of base64url, and the period between the parts; `=` and `+` of plain base64, too.
  private static func isLetter(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x2b, 0x3d: true
    default: false
    }
  }

  /// Quotes and what begins an escape: they stand in a word without ending it.
  private static func isQuote(_ scalar: Unicode.Scalar) -> Bool {
    scalar == "\"" || scalar == "'" || scalar == "`" || scalar == "\\" || scalar == "%"
  }

  private static func looksLikeToken(_ letters: [UInt8]) -> Bool {
    if letters.count < 3 { return false }
    for index in 2..<letters.count
    where letters[index] == UInt8(ascii: "J") && letters[index - 1] == UInt8(ascii: "y")
      && letters[index - 2] == UInt8(ascii: "e")
    {
      return true
    }
    return letters.split(separator: UInt8(ascii: ".")).contains(where: isDense)
  }

  /// Whether somewhere in a piece, for as long as the shortest one, capitals, small letters and
  /// digits change as often as in encoded bytes: these do at two characters of three, names at one
  /// of three at the most. Names in hexadecimal have no capitals, or no small letters.
  private static func isDense(_ piece: ArraySlice<UInt8>) -> Bool {
    guard piece.count >= shortestPiece else { return false }
    let kinds = piece.compactMap { byte in
      switch byte {
      case 0x30...0x39: 0
      case 0x41...0x5a: 1
      case 0x61...0x7a: 2
      default: nil
      }
    }
    guard kinds.count >= shortestPiece else { return false }
    return (shortestPiece...kinds.count).contains { end in
      let window = kinds[(end - shortestPiece)..<end]
      let changes = zip(window, window.dropFirst()).count { $0 != $1 }
      return changes * 9 >= window.count * 4 && window.contains(1) && window.contains(2)
    }
  }

  // MARK: Escapes

  /// The first character of `text` as it is read where escapes are undone (RFC 3986 section 2.1,
  /// RFC 8259 section 7, and `\x41` of many languages), and how many it takes.
  static func unescaped(_ text: ArraySlice<Unicode.Scalar>) -> (Unicode.Scalar, Int) {
    let first = text[text.startIndex]
    for (start, digits) in [("%", 2), ("\\x", 2), ("\\u", 4)]
    where first == start.unicodeScalars.first && text.starts(with: start.unicodeScalars) {
      let number = text.dropFirst(start.unicodeScalars.count).prefix(digits)
      if number.count == digits, number.allSatisfy(\.properties.isASCIIHexDigit),
        let value = UInt32(String(String.UnicodeScalarView(number)), radix: 16),
        let scalar = Unicode.Scalar(value)
      {
        return (scalar, start.unicodeScalars.count + digits)
      }
    }
    return (first, 1)
  }
}

extension Unicode.Scalar {
  /// Whether it shows nothing of its own, or nobody knows what: controls, format characters
  /// (which turn the direction of writing), separators of lines, private and unassigned ones.
  fileprivate var isInvisible: Bool {
    switch properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse,
      .unassigned:
      true
    default: false
    }
  }
}
