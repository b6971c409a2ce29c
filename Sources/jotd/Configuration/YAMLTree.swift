/// All nodes of a document, in the order in which they begin: what is in a collection follows it.
/// One array for all of them, because there may be millions.
final class YAMLTree: Sendable {
  struct Node: Sendable {
    enum Kind: UInt8 { case plain, quoted, list, map, alias }

    let kind: Kind
    /// Collections within each other, itself included; 0 for a scalar.
    var depth: UInt8
    /// Nodes in it, itself and those behind aliases included.
    var weight: UInt32
    private let start: (line: UInt32, column: UInt32)
    private var following: UInt32
    /// That of a scalar.
    let text: String

    /// At a line and a column, from 1.
    init(
      _ kind: Kind, _ text: String = "", line: Int, column: Int, end: Int = 0, depth: UInt8 = 0,
      weight: UInt32 = 1
    ) {
      self.kind = kind
      self.text = text
      self.depth = depth
      self.weight = weight
      start = (UInt32(truncatingIfNeeded: line), UInt32(truncatingIfNeeded: column))
      following = UInt32(truncatingIfNeeded: end)
    }

    var line: Int { Int(start.line) }
    var column: Int { Int(start.column) }

    /// The index of the first node behind a collection; of the node that an alias stands for.
    var end: Int {
      get { Int(following) }
      set { following = UInt32(truncatingIfNeeded: newValue) }
    }
  }

  let file: String
  let nodes: [Node]

  init(file: String, _ nodes: [Node]) {
    self.file = file
    self.nodes = nodes
  }

  /// The index of what follows a node and all that is in it.
  func index(after index: Int) -> Int {
    switch nodes[index].kind {
    case .list, .map: nodes[index].end
    case .plain, .quoted, .alias: index + 1
    }
  }
}
