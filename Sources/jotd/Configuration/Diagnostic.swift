/// Something wrong, or worth knowing, in the configuration or on the host.
struct Diagnostic: Error, Comparable, CustomStringConvertible {
  let location: SourceLocation
  let text: String
  /// Whether the host was in trouble, so that the same can go well a little later.
  var isTransient = false

  /// `FILE:LINE:COLUMN: text`, as compilers and editors have it.
  var description: String { "\(location): \(text)" }

  static func < (left: Diagnostic, right: Diagnostic) -> Bool { left.location < right.location }
}
