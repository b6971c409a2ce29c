import Glibc
import Rotation

/// Something wrong, or worth knowing, in the configuration or on the host.
struct Finding: Error, Comparable, CustomStringConvertible {
  let place: Place
  let text: String
  /// errno(3), where a system call failed; 0 where the words themselves are wrong.
  var code: Int32 = 0

  /// `FILE:LINE:COLUMN: text`, as compilers and editors have it.
  var description: String { "\(place): \(text)" }

  /// Whether the host was in trouble, so that a later try can go well.
  var mayPass: Bool { [EIO, EMFILE, ENFILE, ENOMEM, ENOBUFS, ESTALE, ETIMEDOUT].contains(code) }

  static func < (left: Finding, right: Finding) -> Bool { left.place < right.place }
}

/// A place in a configuration file.
struct Place: Comparable, CustomStringConvertible {
  let file: String
  /// From 1; 0 when the file as a whole is meant.
  var line = 0
  var column = 0

  var description: String { line == 0 ? file : "\(file):\(line):\(column)" }

  static func < (left: Place, right: Place) -> Bool {
    (left.file, left.line, left.column) < (right.file, right.line, right.column)
  }
}

/// What was found so far. Reading goes on after an error, so that all are shown at once.
final class Findings {
  private(set) var errors: [Finding] = []
  private(set) var warnings: [Finding] = []
  /// Whether values are kept out of the texts: where a secret could stand by mistake.
  private var isDiscreet = false

  /// Reads something whose values must not be shown.
  func discreetly<Value>(_ read: () -> Value) -> Value {
    isDiscreet = true
    defer { isDiscreet = false }
    return read()
  }

  /// How a text of the document is shown: in quotes, without what steers a terminal.
  func shown(_ text: String) -> String {
    isDiscreet ? "what it says (not shown)" : JSON.string(text).text
  }

  /// The names of keys get into texts: what would steer a terminal is escaped here, for all.
  func error(_ place: Place, _ text: String, code: Int32 = 0) {
    errors.append(Finding(place: place, text: printable(text), code: code))
  }
  func warn(_ place: Place, _ text: String) {
    warnings.append(Finding(place: place, text: printable(text)))
  }
}
