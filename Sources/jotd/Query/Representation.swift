import Rotation

/// How a token is written in an answer: what the client's Accept asks for (RFC 9110 section
/// 12.5.1).
enum Representation: CaseIterable {
  case jwt, json

  /// The media type, in two words.
  private var type: (main: String, sub: String) {
    switch self {
    case .jwt: ("application", "jwt")
    case .json: ("application", "json")
    }
  }

  var contentType: String { "\(type.main)/\(type.sub)" }

  /// The one of the highest quality; of two with the same, the one that is named more exactly, and
  /// then the token itself. It also comes where neither is acceptable: a client that asks for text
  /// gets what it always got.
  init(accept fields: [String]) {
    let ranges = fields.flatMap { $0.split(separator: ",") }.compactMap(Range.init)
    let ranked = Representation.allCases.map { (which: $0, rank: $0.rank(in: ranges)) }
    // The first of those that are equal stays.
    let best = ranked.dropFirst().reduce(ranked[0]) { $1.rank > $0.rank ? $1 : $0 }
    self = best.rank.quality > 0 ? best.which : .jwt
  }

  /// Quality and exactness of the range that names it most exactly; without any Accept, all is
  /// equal.
  private func rank(in ranges: [Range]) -> (quality: Int, exactness: Int) {
    if ranges.isEmpty { return (1000, 0) }
    let matching = ranges.filter { range in
      (range.main == "*" || range.main == type.main) && (range.sub == "*" || range.sub == type.sub)
    }
    guard let exact = matching.map(\.exactness).max() else { return (0, 0) }
    return (matching.filter { $0.exactness == exact }.map(\.quality).max() ?? 0, exact)
  }

  func body(_ token: Token, of identity: Identity) -> [UInt8] {
    switch self {
    case .jwt: token.compact
    case .json: Format.json.render(token, of: identity)
    }
  }

  /// An entity tag (RFC 9110 section 8.8.3): when the token was issued, by which key, and a hash of
  /// what it says, which together are all that it is made from; nothing of its signature. Each
  /// representation has a tag of its own. The object's changes with the moment of the rotation,
  /// too, because the object names it.
  func tag(of token: Token, of identity: Identity) -> String {
    let signed = token.compact.lastIndex(of: UInt8(ascii: ".")) ?? token.compact.endIndex
    var said = token.compact[..<signed].fnv1a
    if self == .json { said ^= UInt64(bitPattern: identity.due(token).microseconds) }
    return joined(
      "\"", String(token.issuedAt.wholeSeconds), "-", token.origin.description, "-",
      String(said, radix: 16), self == .json ? "-json\"" : "\"")
  }
}

/// One media range of an Accept field, with its quality in thousandths.
private struct Range {
  let main: Substring
  let sub: Substring
  let quality: Int

  var exactness: Int { main == "*" ? 0 : sub == "*" ? 1 : 2 }

  /// Nil for what is no media range, which is passed over.
  init?(_ text: Substring) {
    let parts = text.split(separator: ";", omittingEmptySubsequences: false).map { part in
      String(part.filter { $0 != " " && $0 != "\t" }).lowercased()
    }
    let words = parts[0].split(separator: "/", omittingEmptySubsequences: false)
    guard words.count == 2, !words[0].isEmpty, !words[1].isEmpty, words[0] != "*" || words[1] == "*"
    else { return nil }
    (main, sub) = (words[0], words[1])
    guard let weight = parts.dropFirst().first(where: { $0.hasPrefix("q=") }) else {
      quality = 1000
      return
    }
    guard let value = Range.quality(weight.dropFirst(2)) else { return nil }
    quality = value
  }

  /// `0`, `0.5`, `1.000`: at most three digits, and at most 1.
  private static func quality(_ text: Substring) -> Int? {
    let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
    let digits = parts.count == 2 ? parts[1] : ""
    guard parts[0] == "0" || parts[0] == "1", digits.utf8.count <= 3,
      digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
      let thousandths = Int(digits + String(repeating: "0", count: 3 - digits.utf8.count))
    else { return nil }
    let value = (parts[0] == "1" ? 1000 : 0) + thousandths
    return value <= 1000 ? value : nil
  }
}
