/// A place in a configuration file.
struct SourceLocation: Comparable, CustomStringConvertible {
  let file: String
  /// From 1; 0 when the file as a whole is meant.
  var line = 0
  var column = 0

  var description: String { line == 0 ? file : "\(file):\(line):\(column)" }

  static func < (left: SourceLocation, right: SourceLocation) -> Bool {
    (left.file, left.line, left.column) < (right.file, right.line, right.column)
  }
}
