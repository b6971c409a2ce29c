import Rotation

/// Builds the tree of a document from what libyaml reports of it, within the limits. Throws at what
/// would be dangerous to follow: an anchor bomb, deep nesting.
struct YAMLComposer {
  /// Where something begins, from 1.
  struct Place {
    let line: Int
    let column: Int
  }

  /// What may stand before a node (YAML 1.2.2, 6.9); one of the two is there.
  struct Properties {
    let anchor: String?
    let tag: String?
  }

  /// A collection that has not ended.
  private struct Open {
    let index: Int
    let anchor: String?
    var children = 0
    /// The last but one of its children, and the last.
    var latest = (0, 0)
  }

  let file: String
  private let diagnostics: Diagnostics
  private var nodes: [YAMLTree.Node] = []
  private var documents = 0
  private var open: [Open] = []
  /// The ended nodes that have anchors.
  private var anchors: [String: Int] = [:]
  private var openAnchors: Set<String> = []

  init(file: String, _ diagnostics: Diagnostics) {
    self.file = file
    self.diagnostics = diagnostics
  }

  /// The root of what came; nil when nothing did.
  var root: YAMLNode? { YAMLNode(rootOf: YAMLTree(file: file, nodes)) }

  /// Only one document is read.
  mutating func beginDocument(at place: Place) throws(Diagnostic) {
    documents += 1
    guard documents == 1 else {
      throw Diagnostic(location: location(place), text: "a second YAML document: only one is read")
    }
  }

  mutating func addScalar(
    _ text: String, isPlain: Bool, _ properties: Properties?, at place: Place
  ) throws(Diagnostic) {
    let isResolved = properties.map { resolves(text, isPlain, $0.tag, place) } ?? isPlain
    nodes.append(
      YAMLTree.Node(
        isResolved ? .plain : .quoted, text, line: place.line, column: place.column))
    try close(nodes.count - 1, properties?.anchor)
  }

  mutating func addAlias(_ name: String, at place: Place) throws(Diagnostic) {
    let target = try target(of: name, place)
    nodes.append(
      YAMLTree.Node(
        .alias, line: place.line, column: place.column, end: target, depth: nodes[target].depth,
        weight: nodes[target].weight))
    try close(nodes.count - 1, nil)
  }

  /// Begins a map or a list: what comes until its end is in it.
  mutating func begin(
    isMap: Bool, _ properties: Properties?, at place: Place
  ) throws(Diagnostic) {
    if let tag = properties?.tag, tag != coreTag + (isMap ? "map" : "seq") {
      reportForeignTag(tag, location(place))
    }
    guard open.count < Limits.nesting else { throw tooDeep(location(place)) }
    if let anchor = properties?.anchor { openAnchors.insert(anchor) }
    open.append(Open(index: nodes.count, anchor: properties?.anchor))
    nodes.append(
      YAMLTree.Node(isMap ? .map : .list, line: place.line, column: place.column, depth: 1))
  }

  /// Ends the map or the list that began last.
  mutating func end() throws(Diagnostic) {
    let collection = open.removeLast()
    nodes[collection.index].end = nodes.count
    try close(collection.index, collection.anchor)
  }

  /// Whether the root is a map whose last entry is this key with its value.
  func hasRead(_ key: String) -> Bool {
    guard open.count == 1, nodes[0].kind == .map, open[0].children > 0, open[0].children % 2 == 0
    else { return false }
    return nodes[open[0].latest.0].text == key
  }

  /// Ends all that is open, as if the document ended here.
  mutating func close() {
    while !open.isEmpty { try? end() }
  }

  /// Notes that a node has ended: it counts in the collection that it is in.
  private mutating func close(_ index: Int, _ anchor: String?) throws(Diagnostic) {
    if let anchor {
      anchors[anchor] = index
      openAnchors.remove(anchor)
    }
    guard let last = open.indices.last else { return }
    open[last].children += 1
    open[last].latest = (open[last].latest.1, index)
    let parent = open[last].index
    nodes[parent].weight += nodes[index].weight
    nodes[parent].depth = max(nodes[parent].depth, nodes[index].depth + 1)
    guard open.count + Int(nodes[index].depth) <= Limits.nesting else {
      throw tooDeep(location(index))
    }
    guard nodes[parent].weight <= Limits.configurationNodes else {
      throw Diagnostic(
        location: location(index),
        text: "more than \(Limits.configurationNodes) values once aliases are followed")
    }
  }

  /// The node that an alias stands for.
  private func target(of name: String, _ place: Place) throws(Diagnostic) -> Int {
    guard !openAnchors.contains(name) else {
      throw Diagnostic(
        location: location(place), text: "an alias stands inside its own anchor")
    }
    guard let index = anchors[name] else {
      throw Diagnostic(
        location: location(place), text: "the alias has no anchor of its name before it")
    }
    return index
  }

  /// Whether the core schema is to resolve a scalar, after its tag if it has one.
  private func resolves(_ text: String, _ isPlain: Bool, _ tag: String?, _ place: Place)
    -> Bool
  {
    switch tag {
    case nil: return isPlain
    case "!", coreTag + "str": return false
    case let tag? where tag == coreTag + CoreScalar(text).tag: return true
    case let tag?:
      reportForeignTag(tag, location(place))
      return isPlain
    }
  }

  private func location(_ place: Place) -> SourceLocation {
    SourceLocation(file: file, line: place.line, column: place.column)
  }

  private func location(_ index: Int) -> SourceLocation {
    SourceLocation(file: file, line: nodes[index].line, column: nodes[index].column)
  }

  private func tooDeep(_ location: SourceLocation) -> Diagnostic {
    Diagnostic(location: location, text: "nested more than \(Limits.nesting) deep")
  }

  /// Reading goes on as if the tag were not there.
  private func reportForeignTag(_ tag: String, _ location: SourceLocation) {
    let rest = String(tag.dropFirst(coreTag.count))
    let isCore = tag.hasPrefix(coreTag) && Quoting.isWord(rest)
    let name = isCore ? "\"!!\(rest)\"" : Quoting.quoted(tag)
    diagnostics.error(location, "the tag \(name) does not fit here: leave it out")
  }
}

private let coreTag = "tag:yaml.org,2002:"
