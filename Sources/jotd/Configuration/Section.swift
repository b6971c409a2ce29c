import Rotation

/// One map of the configuration while it is read: knows its allowed keys, and reports the
/// unknown, the doubled and the missing ones.
final class Section {
  private let node: YAMLNode
  private let makeName: () -> String
  /// In the order of the document: so few that nothing finds one faster than looking at each.
  private var entries: [YAMLNode.Entry] = []
  private let diagnostics: Diagnostics

  /// Where it stands in the document, for people: `identities.front-door`. Made when it is asked
  /// for: nearly always, there is nothing to say.
  var name: String { makeName() }
  var location: SourceLocation { node.location }

  /// Nil, and an error, when `node` is no map.
  init?(
    _ node: YAMLNode, _ name: @autoclosure @escaping () -> String, keys: [String],
    _ diagnostics: Diagnostics
  ) {
    self.node = node
    makeName = name
    self.diagnostics = diagnostics
    guard var entries = node.entries(of: self.name, known: keys, diagnostics) else { return nil }
    if !entries.allSatisfy({ keys.contains($0.name) }) {
      let name = self.name
      for entry in entries where !keys.contains(entry.name) {
        let nearest = diagnostics.isFull ? nil : nearest(to: entry.name, among: keys)
        let hint = nearest.map { "; did you mean \"\($0)\"?" } ?? "."
        let named = diagnostics.named(key: entry.name, isNearAWord: nearest != nil)
        diagnostics.error(
          entry.key.location,
          (named.hasPrefix("the key ")
            ? "unknown \(named.dropFirst(4)) in \(name)" : "\(named) is unknown in \(name)")
            + "\(hint) Allowed: \(keys.joined(separator: ", "))")
      }
      entries.removeAll { !keys.contains($0.name) }
    }
    self.entries = entries
  }

  subscript(key: String) -> YAMLNode? { entries.first { $0.name == key }?.value }

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
    _ node: YAMLNode, _ name: @autoclosure @escaping () -> String, of kinds: [String],
    beside others: [String] = []
  ) -> (kind: String, value: YAMLNode, section: Section)? {
    guard let section = Section(node, name(), keys: kinds + others, self) else { return nil }
    let named = kinds.filter { section[$0] != nil }
    guard named.count == 1, let value = section[named[0]] else {
      error(
        node.location,
        "\(section.name) must name one of \(kinds.joined(separator: ", ")): it names "
          + (named.isEmpty ? "none" : named.joined(separator: " and ")))
      return nil
    }
    return (named[0], value, section)
  }
}

extension YAMLNode {
  /// What a map has under a name.
  struct Entry {
    let key: YAMLNode
    let name: String
    let value: YAMLNode
  }

  /// The entries of a map, with keys that are scalars and occur once; nil, and an error, when
  /// the node is no map. Errors may show the keys in `known` as they are, except below `signing`
  /// and `keys`.
  func entries(
    of name: @autoclosure () -> String, known: [String] = [], _ diagnostics: Diagnostics
  ) -> [Entry]? {
    var entries: [Entry] = []
    entries.reserveCapacity(4)
    var seen: [ByteString: Int] = [:]
    let few = 16
    let isMap = forEachEntry(of: name(), diagnostics) { entry in
      // A few are compared, many looked up. By bytes: JSON and YAML tell names apart that are equal
      // as Swift's strings.
      if entries.count == few {
        for (index, entry) in entries.enumerated() { seen[ByteString(entry.name)] = index }
      }
      let first =
        entries.count < few
        ? entries.firstIndex { ByteString($0.name) == ByteString(entry.name) }
        : seen[ByteString(entry.name)]
      if let first {
        diagnostics.error(
          entry.key.location,
          "\(diagnostics.named(key: entry.name, isNearAWord: known.contains(entry.name))) occurs "
            + "twice in \(name()): first in line \(entries[first].key.location.line)")
      } else {
        if entries.count >= few { seen[ByteString(entry.name)] = entries.count }
        entries.append(entry)
      }
    }
    return isMap ? entries : nil
  }

  /// Calls `body` with each entry of a map whose key is a scalar; false, and an error, when the
  /// node is no map.
  func forEachEntry(
    of name: @autoclosure () -> String, _ diagnostics: Diagnostics, _ body: (Entry) -> Void
  ) -> Bool {
    guard case .map(let pairs) = content else {
      diagnostics.error(location, "\(name()) must be a map (key: value lines), not \(kind)")
      return false
    }
    for (key, value) in pairs {
      guard case .scalar(let text, let isPlain) = key.content else {
        diagnostics.error(key.location, "a key of \(name()) must be a word, not \(key.kind)")
        continue
      }
      if isPlain, text == "<<" {
        diagnostics.error(
          key.location,
          "merge keys (<<) are not part of YAML 1.2's core schema: write the values out")
      } else {
        body(Entry(key: key, name: text, value: value))
      }
    }
    return true
  }

  /// The value of a key of a map, the first where there are several; nil when there is none.
  subscript(name: String) -> YAMLNode? {
    guard case .map(let pairs) = content else { return nil }
    return pairs.first { if case .scalar(name, _) = $0.key.content { true } else { false } }?.value
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
