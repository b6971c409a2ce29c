import CYAML
import Rotation

/// A node of a YAML document, with the place where it stands.
struct YAMLNode {
  enum Content {
    /// `isPlain`: without quotes, so that the core schema resolves it (YAML 1.2.2, 10.3).
    case scalar(String, isPlain: Bool)
    case list([YAMLNode])
    case map([(key: YAMLNode, value: YAMLNode)])
  }

  let content: Content
  let location: SourceLocation
  /// Nodes in it, itself and those behind aliases included.
  fileprivate let weight: Int
  /// Collections within each other, itself included; 0 for a scalar.
  fileprivate let depth: Int

  /// Those of a list; none of anything else.
  var items: [YAMLNode] { if case .list(let nodes) = content { nodes } else { [] } }
}

/// Reads YAML with libyaml. The only file that imports it.
enum YAMLDocument {
  /// The root of the one document in `bytes`; nil for an empty one. Throws the first error of
  /// syntax, a second document, and what would be dangerous to follow: anchor bombs, deep nesting.
  /// A foreign tag is an error in `diagnostics`, and reading goes on.
  static func root(
    of bytes: [UInt8], file: String, _ diagnostics: Diagnostics
  ) throws(Diagnostic) -> YAMLNode? {
    if let name = foreignEncoding(bytes) {
      throw Diagnostic(
        location: SourceLocation(file: file, line: 1, column: 1),
        text: "is written in \(name), which jotd does not read: save it as UTF-8")
    }
    var parser = unsafe yaml_parser_t()
    guard unsafe yaml_parser_initialize(&parser) == 1 else {
      throw Diagnostic(
        location: SourceLocation(file: file), text: "libyaml could not be set up: out of memory")
    }
    defer { unsafe yaml_parser_delete(&parser) }
    let result = unsafe bytes.withUnsafeBufferPointer { buffer -> Result<YAMLNode?, Diagnostic> in
      unsafe yaml_parser_set_input_string(&parser, buffer.baseAddress, buffer.count)
      do throws(Diagnostic) {
        var composer = Composer(file: file, diagnostics)
        while try !composer.take(unsafe nextEvent(&parser, file, bytes)) {}
        return .success(composer.root)
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  /// What can be read of the root, to the end of the value of `key` or to the first error of
  /// syntax; nil when nothing can. What is open there ends there.
  static func beginning(of bytes: [UInt8], until key: String) -> YAMLNode? {
    var parser = unsafe yaml_parser_t()
    guard foreignEncoding(bytes) == nil, unsafe yaml_parser_initialize(&parser) == 1 else {
      return nil
    }
    defer { unsafe yaml_parser_delete(&parser) }
    var composer = Composer(file: "", Diagnostics())
    var offset: Int?
    unsafe bytes.withUnsafeBufferPointer { buffer in
      unsafe yaml_parser_set_input_string(&parser, buffer.baseAddress, buffer.count)
      do throws(Diagnostic) {
        while try !composer.take(unsafe nextEvent(&parser, "", bytes)) {
          if composer.hasRead(key) { break }
        }
      } catch {
        if unsafe parser.error == YAML_READER_ERROR { offset = unsafe parser.problem_offset }
      }
    }
    // Bytes that are no text are met long before what stands in front of them was taken.
    if let offset, offset < bytes.count {
      return beginning(of: Array(bytes.prefix(offset)), until: key)
    }
    return composer.close()
  }

  /// The encoding that a byte order mark tells of (YAML 1.2.2, 5.2); nil for UTF-8, with a mark or
  /// without. What is UTF-16 without a mark has NUL bytes, which libyaml refuses.
  private static func foreignEncoding(_ bytes: [UInt8]) -> String? {
    let marks: [(bytes: [UInt8], name: String)] = [
      ([0xff, 0xfe, 0, 0], "UTF-32"), ([0, 0, 0xfe, 0xff], "UTF-32"), ([0xff, 0xfe], "UTF-16"),
      ([0xfe, 0xff], "UTF-16"),
    ]
    return marks.first { bytes.starts(with: $0.bytes) }?.name
  }

  private static func nextEvent(
    _ parser: inout yaml_parser_t, _ file: String, _ bytes: [UInt8]
  ) throws(Diagnostic) -> Event {
    var event = unsafe yaml_event_t()
    guard unsafe yaml_parser_parse(&parser, &event) == 1 else {
      throw unsafe fault(parser, file, bytes)
    }
    defer { unsafe yaml_event_delete(&event) }
    let location = SourceLocation(
      file: file, line: unsafe event.start_mark.line + 1,
      column: unsafe event.start_mark.column + 1)
    switch unsafe event.type {
    case YAML_DOCUMENT_START_EVENT: return Event(kind: .documentStart, location: location)
    case YAML_STREAM_END_EVENT: return Event(kind: .streamEnd, location: location)
    case YAML_ALIAS_EVENT:
      return Event(kind: .alias(unsafe text(event.data.alias.anchor) ?? ""), location: location)
    case YAML_SCALAR_EVENT:
      let scalar = unsafe event.data.scalar
      let content = unsafe String(
        decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
      return unsafe Event(
        kind: .scalar(content, isPlain: scalar.plain_implicit == 1), location: location,
        anchor: text(scalar.anchor), tag: text(scalar.tag))
    case YAML_SEQUENCE_START_EVENT:
      let start = unsafe event.data.sequence_start
      return unsafe Event(
        kind: .listStart, location: location, anchor: text(start.anchor), tag: text(start.tag))
    case YAML_MAPPING_START_EVENT:
      let start = unsafe event.data.mapping_start
      return unsafe Event(
        kind: .mapStart, location: location, anchor: text(start.anchor), tag: text(start.tag))
    case YAML_SEQUENCE_END_EVENT, YAML_MAPPING_END_EVENT:
      return Event(kind: .end, location: location)
    default: return Event(kind: .other, location: location)
    }
  }

  private static func text(_ pointer: UnsafeMutablePointer<yaml_char_t>?) -> String? {
    unsafe pointer.map { unsafe String(cString: $0) }
  }

  private static func fault(
    _ parser: yaml_parser_t, _ file: String, _ bytes: [UInt8]
  ) -> Diagnostic {
    let problem = unsafe parser.problem.map { unsafe String(cString: $0) } ?? "no valid YAML"
    let context = unsafe parser.context.map { unsafe String(cString: $0) + ": " } ?? ""
    guard unsafe parser.error != YAML_READER_ERROR else {
      // Bytes that are no text have an offset only.
      let before = bytes.prefix(unsafe parser.problem_offset)
      let line = before.count { $0 == 0x0a } + 1
      let column = before.count - (before.lastIndex(of: 0x0a).map { $0 + 1 } ?? 0) + 1
      return Diagnostic(
        location: SourceLocation(file: file, line: line, column: column),
        text: "not YAML: \(problem)")
    }
    let mark = unsafe parser.problem_mark
    return Diagnostic(
      location: SourceLocation(file: file, line: mark.line + 1, column: mark.column + 1),
      text: "not YAML: \(context)\(problem)\(hint(mark, bytes))")
  }
}

extension YAMLDocument {
  /// The commonest slip has a message that does not name it.
  private static func hint(_ mark: yaml_mark_t, _ bytes: [UInt8]) -> String {
    bytes.indices.contains(mark.index) && bytes[mark.index] == 0x09
      ? ": it is a tab, indent with spaces" : ""
  }
}

/// What libyaml says next.
private struct Event {
  enum Kind {
    case documentStart, streamEnd, listStart, mapStart, end, other
    case alias(String)
    case scalar(String, isPlain: Bool)
  }

  let kind: Kind
  let location: SourceLocation
  var anchor: String?
  var tag: String?
}

/// Builds the tree from the events, within the limits.
private struct Composer {
  private struct Open {
    let isMap: Bool
    let location: SourceLocation
    let anchor: String?
    var children: [YAMLNode] = []
    var weight = 1
    var depth = 1
  }

  let file: String
  private(set) var root: YAMLNode?
  private var documents = 0
  private var open: [Open] = []
  private var anchors: [String: YAMLNode] = [:]
  private var openAnchors: Set<String> = []

  private let diagnostics: Diagnostics

  init(file: String, _ diagnostics: Diagnostics) {
    self.file = file
    self.diagnostics = diagnostics
  }

  /// Takes one event; true when it was the last.
  mutating func take(_ event: Event) throws(Diagnostic) -> Bool {
    switch event.kind {
    case .streamEnd: return true
    case .other: break
    case .documentStart:
      documents += 1
      guard documents == 1 else {
        throw Diagnostic(location: event.location, text: "a second YAML document: only one is read")
      }
    case .alias(let name): try add(alias(name, at: event.location))
    case .scalar(let text, let isPlain):
      let scalar = YAMLNode.Content.scalar(text, isPlain: resolves(text, isPlain, event))
      try close(scalar, event.anchor, event.location, weight: 1, depth: 0)
    case .listStart, .mapStart: try begin(event)
    case .end:
      let collection = open.removeLast()
      let content: YAMLNode.Content
      if collection.isMap {
        let children = collection.children
        content = .map(
          stride(from: 0, to: children.count - 1, by: 2).map { (children[$0], children[$0 + 1]) })
      } else {
        content = .list(collection.children)
      }
      try close(
        content, collection.anchor, collection.location, weight: collection.weight,
        depth: collection.depth)
    }
    return false
  }

  /// Whether the root is a map whose last entry is this key with its value.
  func hasRead(_ key: String) -> Bool {
    guard open.count == 1, open[0].isMap, open[0].children.count % 2 == 0,
      case .scalar(key, _)? = open[0].children.dropLast().last?.content
    else { return false }
    return true
  }

  /// Ends all that is open, as if the document ended here, and gives the root.
  mutating func close() -> YAMLNode? {
    do throws(Diagnostic) {
      while let last = open.last { _ = try take(Event(kind: .end, location: last.location)) }
    } catch { return nil }
    return root
  }

  private mutating func begin(_ event: Event) throws(Diagnostic) {
    var isMap = false
    if case .mapStart = event.kind { isMap = true }
    if let tag = event.tag, tag != coreTag + (isMap ? "map" : "seq") {
      reportForeignTag(tag, event.location)
    }
    guard open.count < Limits.nesting else { throw tooDeep(event.location) }
    if let anchor = event.anchor { openAnchors.insert(anchor) }
    open.append(Open(isMap: isMap, location: event.location, anchor: event.anchor))
  }

  private mutating func close(
    _ content: YAMLNode.Content, _ anchor: String?, _ location: SourceLocation, weight: Int,
    depth: Int
  ) throws(Diagnostic) {
    let node = YAMLNode(content: content, location: location, weight: weight, depth: depth)
    if let anchor {
      anchors[anchor] = node
      openAnchors.remove(anchor)
    }
    try add(node)
  }

  private mutating func add(_ node: YAMLNode) throws(Diagnostic) {
    guard !open.isEmpty else {
      root = node
      return
    }
    open[open.count - 1].children.append(node)
    open[open.count - 1].weight += node.weight
    open[open.count - 1].depth = max(open[open.count - 1].depth, node.depth + 1)
    guard open.count + node.depth <= Limits.nesting else { throw tooDeep(node.location) }
    guard open[open.count - 1].weight <= Limits.configurationNodes else {
      throw Diagnostic(
        location: node.location,
        text: "more than \(Limits.configurationNodes) values once aliases are followed")
    }
  }

  private func alias(_ name: String, at location: SourceLocation) throws(Diagnostic) -> YAMLNode {
    guard !openAnchors.contains(name) else {
      throw Diagnostic(location: location, text: "an alias stands inside its own anchor")
    }
    guard let node = anchors[name] else {
      throw Diagnostic(location: location, text: "the alias has no anchor of its name before it")
    }
    return node
  }

  /// Whether the core schema is to resolve the scalar, after its tag if it has one.
  private func resolves(
    _ text: String, _ isPlain: Bool, _ event: Event
  ) -> Bool {
    switch event.tag {
    case nil: return isPlain
    case "!", coreTag + "str": return false
    case let tag? where tag == coreTag + CoreScalar(text).tag: return true
    case let tag?:
      reportForeignTag(tag, event.location)
      return isPlain
    }
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
