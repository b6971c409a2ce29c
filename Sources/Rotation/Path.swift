/// An absolute path, compared byte for byte as the kernel does (`String` compares by canonical
/// equivalence, which takes two different files for one).
package struct Path: Hashable, Sendable, CustomStringConvertible {
  package let description: String

  package init(_ description: String) { self.description = description }

  package static func == (left: Path, right: Path) -> Bool {
    left.description.utf8.elementsEqual(right.description.utf8)
  }
  package func hash(into hasher: inout Hasher) {
    for byte in description.utf8 { hasher.combine(byte) }
  }

  /// The names between the slashes, as the kernel finds them: to `String.split`, a slash with a
  /// combining mark after it is another character.
  package var names: [String] {
    description.utf8.split(separator: UInt8(ascii: "/")).map { String(Substring($0)) }
  }
  /// What follows the last slash.
  package var name: String { names.last ?? "" }
  /// What precedes the last slash; `/` for a file in the root folder.
  package var folder: Path {
    let parent = description.utf8.lastIndex(of: UInt8(ascii: "/")).map { description[..<$0] } ?? ""
    return Path(parent.isEmpty ? "/" : String(parent))
  }
}
