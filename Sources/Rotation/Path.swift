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
    guard let slash = lastSlash else { return description }
    let name = description.utf8.dropFirst(slash + 1)
    // No name ends a path that ends with a slash.
    return name.isEmpty ? names.last ?? "" : String(Substring(name))
  }
  /// What precedes the last slash; `/` for a file in the root folder.
  package var folder: Path {
    guard let slash = lastSlash, slash > 0 else { return Path("/") }
    return Path(String(Substring(description.utf8.prefix(slash))))
  }

  /// How many bytes precede the last slash.
  private var lastSlash: Int? {
    let bytes = description.utf8Span.span
    return bytes.indices.last { bytes[$0] == UInt8(ascii: "/") }
  }
}
