import Rotation

/// A node of a YAML document, with the place where it stands. A look into the document's tree, so
/// that it costs nothing to hand on.
struct YAMLNode {
  private let tree: YAMLTree
  /// Never that of an alias: of the node that it stands for.
  private let index: Int

  /// The root of a tree; nil when it has no nodes.
  init?(rootOf tree: YAMLTree) {
    guard !tree.nodes.isEmpty else { return nil }
    self.init(tree, at: 0)
  }

  private init(_ tree: YAMLTree, at index: Int) {
    self.tree = tree
    self.index = tree.nodes[index].kind == .alias ? tree.nodes[index].end : index
  }
}

extension YAMLNode {
  enum Content {
    /// `isPlain`: without quotes, so that the core schema resolves it (YAML 1.2.2, 10.3).
    case scalar(String, isPlain: Bool)
    case list([YAMLNode])
    case map(Pairs)
  }

  var content: Content {
    let node = tree.nodes[index]
    switch node.kind {
    case .plain, .alias: return .scalar(node.text, isPlain: true)
    case .quoted: return .scalar(node.text, isPlain: false)
    case .list: return .list(items)
    case .map: return .map(Pairs(of: self))
    }
  }

  var location: SourceLocation {
    let node = tree.nodes[index]
    return SourceLocation(file: tree.file, line: node.line, column: node.column)
  }

  /// Those of a list; none of anything else.
  var items: [YAMLNode] {
    guard tree.nodes[index].kind == .list else { return [] }
    var items: [YAMLNode] = []
    var next = index + 1
    while next < tree.nodes[index].end {
      items.append(YAMLNode(tree, at: next))
      next = tree.index(after: next)
    }
    return items
  }

  /// The keys and values of a map, in their order.
  struct Pairs: Sequence, IteratorProtocol {
    private let tree: YAMLTree
    private var position: Int
    private let end: Int

    fileprivate init(of map: YAMLNode) {
      tree = map.tree
      position = map.index + 1
      end = map.tree.nodes[map.index].end
    }

    /// A key without a value, where the document was not read to its end, is none.
    mutating func next() -> (key: YAMLNode, value: YAMLNode)? {
      guard position < end else { return nil }
      let (key, value) = (position, tree.index(after: position))
      guard value < end else { return nil }
      position = tree.index(after: value)
      return (YAMLNode(tree, at: key), YAMLNode(tree, at: value))
    }
  }
}
