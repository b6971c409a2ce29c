import CYAML
import Rotation

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
        var composer = YAMLComposer(file: file, diagnostics)
        while try unsafe next(&parser, bytes, &composer) {}
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
    var composer = YAMLComposer(file: "", Diagnostics())
    var offset: Int?
    unsafe bytes.withUnsafeBufferPointer { buffer in
      unsafe yaml_parser_set_input_string(&parser, buffer.baseAddress, buffer.count)
      do throws(Diagnostic) {
        while try unsafe next(&parser, bytes, &composer), !composer.hasRead(key) {}
      } catch {
        if unsafe parser.error == YAML_READER_ERROR { offset = unsafe parser.problem_offset }
      }
    }
    // Bytes that are no text are met long before what stands in front of them was taken.
    if let offset, offset < bytes.count {
      return beginning(of: Array(bytes.prefix(offset)), until: key)
    }
    composer.close()
    return composer.root
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

  /// Tells the composer what comes next; false at the end.
  private static func next(
    _ parser: inout yaml_parser_t, _ bytes: [UInt8], _ composer: inout YAMLComposer
  ) throws(Diagnostic) -> Bool {
    var event = unsafe yaml_event_t()
    guard unsafe yaml_parser_parse(&parser, &event) == 1 else {
      throw unsafe fault(parser, composer.file, bytes)
    }
    defer { unsafe yaml_event_delete(&event) }
    let start = unsafe event.start_mark
    let place = YAMLComposer.Place(line: start.line + 1, column: start.column + 1)
    switch unsafe event.type {
    case YAML_DOCUMENT_START_EVENT: try composer.beginDocument(at: place)
    case YAML_STREAM_END_EVENT: return false
    case YAML_ALIAS_EVENT:
      try composer.addAlias(unsafe text(event.data.alias.anchor) ?? "", at: place)
    case YAML_SCALAR_EVENT:
      let content = unsafe String(
        decoding: UnsafeBufferPointer(
          start: event.data.scalar.value, count: event.data.scalar.length), as: UTF8.self)
      try unsafe composer.addScalar(
        content, isPlain: event.data.scalar.plain_implicit == 1,
        properties(event.data.scalar.anchor, event.data.scalar.tag), at: place)
    case YAML_SEQUENCE_START_EVENT:
      try unsafe composer.begin(
        isMap: false, properties(event.data.sequence_start.anchor, event.data.sequence_start.tag),
        at: place)
    case YAML_MAPPING_START_EVENT:
      try unsafe composer.begin(
        isMap: true, properties(event.data.mapping_start.anchor, event.data.mapping_start.tag),
        at: place)
    case YAML_SEQUENCE_END_EVENT, YAML_MAPPING_END_EVENT: try composer.end()
    default: break
    }
    return true
  }

  private static func properties(
    _ anchor: UnsafeMutablePointer<yaml_char_t>?, _ tag: UnsafeMutablePointer<yaml_char_t>?
  ) -> YAMLComposer.Properties? {
    // Nearly no node has any.
    guard unsafe anchor != nil || tag != nil else { return nil }
    return unsafe YAMLComposer.Properties(anchor: text(anchor), tag: text(tag))
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
