/// An absolute path, compared byte for byte as the kernel does.
package struct Path: Hashable, Sendable, CustomStringConvertible {
  private let text: ByteString

  package var description: String { text.text }

  package init(_ description: String) { text = ByteString(description) }

  /// The names between the slashes, as the kernel finds them: to `String.split`, a slash with a
  /// combining mark after it is another character.
  package var names: [String] {
    description.utf8.split(separator: UInt8(ascii: "/")).map { String(Substring($0)) }
  }
  /// What follows the last slash.
  package var name: String {
    let bytes = description.utf8
    guard let slash = bytes.lastIndex(of: UInt8(ascii: "/")) else { return description }
    let name = bytes[bytes.index(after: slash)...]
    // No name ends a path that ends with a slash.
    return name.isEmpty ? names.last ?? "" : String(Substring(name))
  }
  /// What precedes the last slash; `/` for a file in the root folder.
  package var folder: Path {
    let parent = description.utf8.lastIndex(of: UInt8(ascii: "/")).map { description[..<$0] } ?? ""
    return Path(parent.isEmpty ? "/" : String(parent))
  }
}
