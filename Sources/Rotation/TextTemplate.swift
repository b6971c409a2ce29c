/// A text with a token in it, as a client's own file has it: a URL, a line of its configuration.
///
/// `{token}`, `{identity}` and `{expires_at}` stand for what they say; there is no other language.
/// A brace that no name of letters, digits and `_` follows up to the other one stands for itself.
package struct TextTemplate: Hashable, Sendable {
  private enum Part: Hashable, Sendable {
    case literal([UInt8])
    case token
    /// When the token ends, as RFC 3339 writes it.
    case expiry

    /// Nil for the token, whose size is not known.
    var bytes: Int? {
      switch self {
      case .literal(let bytes): bytes.count
      case .token: nil
      case .expiry: "1970-01-01T00:00:00Z".utf8.count
      }
    }
  }

  /// At least one is the token, and no two literals follow each other.
  private let parts: [Part]

  /// `text` as the configuration has it, for the files of `identity`. The error says what is
  /// allowed.
  package init(_ text: String, identity: String) throws(Failure) {
    guard text.utf8.count <= Limits.templateBytes else {
      throw Failure("is longer than \(Limits.templateBytes) bytes")
    }
    guard !text.utf8.contains(0) else { throw Failure("must not contain a zero byte") }
    var parts: [Part] = []
    var literal: [UInt8] = []
    func endLiteral() {
      if !literal.isEmpty { parts.append(.literal(literal)) }
      literal = []
    }
    var rest = Array(text.utf8)[...]
    while let byte = rest.first {
      guard let name = TextTemplate.name(at: rest) else {
        literal.append(byte)
        rest = rest.dropFirst()
        continue
      }
      rest = rest.dropFirst(name.utf8.count + 2)
      switch name {
      case "token":
        endLiteral()
        parts.append(.token)
      case "expires_at":
        endLiteral()
        parts.append(.expiry)
      case "identity": literal += Array(identity.utf8)
      default:
        let place = text.utf8.count - rest.count - name.utf8.count - 1
        throw Failure(
          "has a name in braces, at byte \(place), that is none of {token}, {identity}, "
            + "{expires_at}")
      }
    }
    endLiteral()
    self.parts = parts
    guard (1...Limits.templateTokens).contains(tokens) else {
      throw Failure(
        tokens == 0
          ? "has no {token}: that is where the token goes"
          : "has {token} more than \(Limits.templateTokens) times")
    }
  }

  /// The name in the braces that `text` begins with; nil when it begins with anything else.
  private static func name(at text: ArraySlice<UInt8>) -> String? {
    guard text.first == UInt8(ascii: "{") else { return nil }
    let name = text.dropFirst().prefix { $0 != UInt8(ascii: "-") && Base64URL.isDigit($0) }
    guard !name.isEmpty, text[name.endIndex...].first == UInt8(ascii: "}") else { return nil }
    return String(decoding: name, as: UTF8.self)
  }

  private var tokens: Int { parts.count { $0 == .token } }

  /// The most bytes that `render` gives.
  var mostBytes: Int {
    parts.reduce(0) { $0 + ($1.bytes ?? Limits.tokenBytes) }
  }

  func render(_ token: Token) -> [UInt8] {
    parts.flatMap { part -> [UInt8] in
      switch part {
      case .literal(let bytes): bytes
      case .token: token.compact
      case .expiry: Array(token.expiresAt.rfc3339.utf8)
      }
    }
  }

  /// The token in `content`, where that is a text that `render` can give; nil for anything else.
  func token(in content: [UInt8]) -> [UInt8]? {
    let around = parts.reduce(0) { $0 + ($1.bytes ?? 0) }
    let (size, excess) = (content.count - around).quotientAndRemainder(dividingBy: tokens)
    guard size > 0, excess == 0 else { return nil }
    var rest = content[...]
    var found: ArraySlice<UInt8>?
    for part in parts {
      let piece = rest.prefix(part.bytes ?? size)
      rest = rest.dropFirst(piece.count)
      switch part {
      case .literal(let bytes): guard piece.elementsEqual(bytes) else { return nil }
      case .expiry: guard piece.allSatisfy(TextTemplate.isTimePart) else { return nil }
      case .token:
        guard found == nil || found == piece else { return nil }
        found = piece
      }
    }
    return found.map(Array.init).flatMap { Format.isToken($0) ? $0 : nil }
  }

  // MARK: What a write left that was cut off

  /// What a byte of a text is compared with.
  private enum Item {
    case byte(UInt8)
    /// A character of a moment.
    case time
    /// Any number of characters of a token.
    case digits
  }

  private static let tokenStart = Array("eyJ".utf8)

  private var items: [Item] {
    parts.flatMap { part -> [Item] in
      switch part {
      case .literal(let bytes): bytes.map(Item.byte)
      case .token: TextTemplate.tokenStart.map(Item.byte) + [.digits]
      case .expiry: [Item](repeating: .time, count: part.bytes!)
      }
    }
  }

  /// Whether `content` can be the beginning of such a text, up to a token at least, and the rest of
  /// an older one.
  func isTorn(_ content: [UInt8]) -> Bool {
    let items = items
    let begin = TextTemplate.common(content, items)
    let end = TextTemplate.common(content.reversed(), items.reversed())
    let head = parts.prefix { $0 != .token }.reduce(0) { $0 + ($1.bytes ?? 0) }
    return begin.reached >= head + TextTemplate.tokenStart.count
      && begin.count + end.count >= content.count
  }

  /// How many bytes `content` has in common with some text of these items at its beginning, and how
  /// many items they reach. A text can be read in several ways at once; one with too many is not
  /// read on.
  private static func common(
    _ content: some Sequence<UInt8>, _ items: [Item]
  ) -> (count: Int, reached: Int) {
    var (count, reached) = (0, 0)
    // The items that may be next, in their order.
    var nexts: [Int] = []
    func add(_ index: Int, to nexts: inout [Int]) {
      if nexts.last.map({ $0 < index }) ?? true { nexts.append(index) }
      if index < items.count, case .digits = items[index] { add(index + 1, to: &nexts) }
    }
    add(0, to: &nexts)
    for byte in content {
      var following: [Int] = []
      for index in nexts where index < items.count {
        switch items[index] {
        case .byte(let wanted): if byte == wanted { add(index + 1, to: &following) }
        case .time: if isTimePart(byte) { add(index + 1, to: &following) }
        case .digits: if Format.isPart(byte) { add(index, to: &following) }
        }
      }
      guard let last = following.last, following.count <= Limits.templateReadings else { break }
      (count, reached, nexts) = (count + 1, max(reached, last), following)
    }
    return (count, reached)
  }

  /// Whether it can stand in a moment as RFC 3339 writes it.
  private static func isTimePart(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || "-:TZ".utf8.contains(byte)
  }
}
