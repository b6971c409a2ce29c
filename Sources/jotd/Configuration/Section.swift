import Rotation

/// One map of the configuration while it is read: knows its allowed keys, and reports the
/// unknown, the doubled and the missing ones.
struct Section {
  /// Where it stands in the document, for people: `identities.front-door`.
  let name: String
  let location: SourceLocation
  /// In the order of the document: so few that nothing finds one faster than looking at each.
  private let values: [(key: String, node: YAMLNode)]
  private let diagnostics: Diagnostics

  /// Nil, and an error, when `node` is no map.
  init?(_ node: YAMLNode, _ name: String, keys: [String], _ diagnostics: Diagnostics) {
    guard let entries = node.entries(of: name, known: keys, diagnostics) else { return nil }
    var values: [(key: String, node: YAMLNode)] = []
    values.reserveCapacity(entries.count)
    for (key, text, value) in entries {
      if keys.contains(text) {
        values.append((text, value))
      } else {
        let nearest = diagnostics.isFull ? nil : nearest(to: text, among: keys)
        let hint = nearest.map { "; did you mean \"\($0)\"?" } ?? "."
        let named = diagnostics.named(key: text, isNearAWord: nearest != nil)
        diagnostics.error(
          key,
          (named.hasPrefix("the key ")
            ? "unknown \(named.dropFirst(4)) in \(name)" : "\(named) is unknown in \(name)")
            + "\(hint) Allowed: \(keys.joined(separator: ", "))")
      }
    }
    self.name = name
    self.values = values
    self.diagnostics = diagnostics
    location = node.location
  }

  subscript(key: String) -> YAMLNode? { values.first { $0.key == key }?.node }

  /// The value of a key that must be there; nil, and an error, when it is not.
  func required(_ key: String, _ meaning: @autoclosure () -> String) -> YAMLNode? {
    if let node = self[key] { return node }
    diagnostics.error(location, "\(name) lacks the key \"\(key)\": \(meaning())")
    return nil
  }

  /// The path of a key in the document.
  func path(_ key: String) -> String { "\(name).\(key)" }
}

extension Diagnostics {
  /// Reads a map that must have exactly one of `kinds`, and may have `others`; nil, and an error,
  /// otherwise.
  func single(
    _ node: YAMLNode, _ name: String, of kinds: [String], beside others: [String] = []
  ) -> (kind: String, value: YAMLNode, section: Section)? {
    guard let section = Section(node, name, keys: kinds + others, self) else { return nil }
    let named = kinds.filter { section[$0] != nil }
    guard named.count == 1, let value = section[named[0]] else {
      error(
        node.location,
        "\(name) must name one of \(kinds.joined(separator: ", ")): it names "
          + (named.isEmpty ? "none" : named.joined(separator: " and ")))
      return nil
    }
    return (named[0], value, section)
  }
}

extension YAMLNode {
  /// The entries of a map, with keys that are scalars and occur once; nil, and an error, when
  /// the node is no map. Errors may show the keys in `known` as they are, except below `signing`.
  func entries(
    of name: String, known: [String] = [], _ diagnostics: Diagnostics
  ) -> [(location: SourceLocation, key: String, value: YAMLNode)]? {
    guard case .map(let pairs) = content else {
      diagnostics.error(location, "\(name) must be a map (key: value lines), not \(kind)")
      return nil
    }
    var entries: [(location: SourceLocation, key: String, value: YAMLNode)] = []
    entries.reserveCapacity(pairs.count)
    var seen = Seen(upTo: pairs.count)
    for (key, value) in pairs {
      guard case .scalar(let text, let isPlain) = key.content else {
        diagnostics.error(key.location, "a key of \(name) must be a word, not \(key.kind)")
        continue
      }
      if isPlain, text == "<<" {
        diagnostics.error(
          key.location,
          "merge keys (<<) are not part of YAML 1.2's core schema: write the values out")
      } else if let first = seen.index(of: text, among: entries.lazy.map(\.key)) {
        diagnostics.error(
          key.location,
          "\(diagnostics.named(key: text, isNearAWord: known.contains(text))) occurs twice in "
            + "\(name): first in line \(entries[first].location.line)")
      } else {
        entries.append((key.location, text, value))
      }
    }
    return entries
  }

  /// Whether the node is a map with this key.
  func hasKey(_ name: String) -> Bool {
    guard case .map(let pairs) = content else { return false }
    return pairs.contains { if case .scalar(name, _) = $0.key.content { true } else { false } }
  }

  /// What the node is, for an error message.
  var kind: String {
    switch content {
    case .list: return "a list"
    case .map: return "a map"
    case .scalar(let text, let isPlain):
      guard isPlain else { return "a string" }
      switch CoreScalar(text) {
      case .null: return "nothing"
      case .bool: return "a boolean"
      case .integer, .float, .notInJSON: return "a number"
      case .string: return "a string"
      }
    }
  }
}

/// The keys of a map that came so far. Compared by bytes: JSON and YAML tell names apart that are
/// equal as Swift's strings.
private struct Seen {
  /// Where each is; nil in a map that is so small that looking at each is faster.
  private var places: [ByteString: Int]?
  private var count = 0

  init(upTo count: Int) {
    if count > 16 { places = Dictionary(minimumCapacity: count) }
  }

  /// Where `text` is among those that were new; nil, and it is noted as the next of them, when it
  /// is new, too.
  mutating func index(of text: String, among keys: some Collection<String>) -> Int? {
    let key = ByteString(text)
    guard places != nil else {
      return keys.enumerated().first { ByteString($0.element) == key }?.offset
    }
    if let place = places?[key] { return place }
    places?[key] = count
    count += 1
    return nil
  }
}

/// The word of `words` that `text` most likely means; nil when none is near.
func nearest(to text: String, among words: [String]) -> String? {
  let ranked = words.map { (word: $0, distance: editDistance($0, text)) }
  guard let best = ranked.min(by: { $0.distance < $1.distance }) else { return nil }
  return best.distance <= max(1, best.word.utf8.count / 3) ? best.word : nil
}

/// Insertions, deletions, changes and swaps of neighbours between two words (optimal string
/// alignment).
private func editDistance(_ left: String, _ right: String) -> Int {
  let (left, right) = (Array(left.utf8.prefix(64)), Array(right.utf8.prefix(64)))
  var rows = [Array(0...right.count)]
  for i in 1...max(1, left.count) where i <= left.count {
    var row = [i]
    for j in 1...max(1, right.count) where j <= right.count {
      var least = min(row[j - 1] + 1, rows[i - 1][j] + 1)
      least = min(least, rows[i - 1][j - 1] + (left[i - 1] == right[j - 1] ? 0 : 1))
      if i > 1, j > 1, left[i - 1] == right[j - 2], left[i - 2] == right[j - 1] {
        least = min(least, rows[i - 2][j - 2] + 1)
      }
      row.append(least)
    }
    rows.append(row)
  }
  return rows[left.count][right.count]
}
