import Rotation

/// What was found so far. Reading goes on after an error, so that all are shown at once.
final class Diagnostics {
  private(set) var errors: [Diagnostic] = []
  private(set) var warnings: [Diagnostic] = []
  /// Whether nothing is repeated: below `signing` and `keys`.
  private(set) var isDiscreet = false
  /// Names in paths that may not be repeated, wherever a text about the path comes from.
  private var hidden: Set<String> = []

  /// Whether there are more errors than are shown: then no more work is put into what they say.
  var isFull: Bool { errors.count > Limits.errorsShown }

  /// Whether there are errors, and nothing but the host's trouble.
  var areTransient: Bool { !errors.isEmpty && errors.allSatisfy(\.isTransient) }

  /// The errors by file name, line and column, one a line; of more than `Limits.errorsShown` the
  /// first, and how many more there are.
  var report: String {
    let shown = errors.sorted().prefix(Limits.errorsShown).map(\.description)
    let more = errors.count - shown.count
    return (shown + (more > 0 ? ["and \(more) more"] : [])).joined(separator: "\n")
  }

  /// Reads something whose values must not be shown.
  func redacting<Value>(_ read: () -> Value) -> Value {
    isDiscreet = true
    defer { isDiscreet = false }
    return read()
  }

  /// How a text of the document is shown, behind a noun: in quotes if it may be repeated (see
  /// `Quoting`), or is near a word of the schema.
  func shown(_ text: String, isNearAWord: Bool = false) -> String {
    mayShow(text, isNearAWord) ? JSON.string(text).text : Quoting.hidden(text)
  }

  /// The same where a noun is wanted, as in "must be this, not that".
  func shownValue(_ text: String, isNearAWord: Bool = false) -> String {
    (mayShow(text, isNearAWord) ? "" : "what is there ") + shown(text, isNearAWord: isNearAWord)
  }

  /// How a key is named at the beginning of a sentence that says what is wrong with it.
  func named(key text: String, isNearAWord: Bool = false) -> String {
    mayShow(text, isNearAWord)
      ? "the key \(JSON.string(text).text)"
      : "a key of \(text.utf8.count) bytes, not shown in case it is a secret,"
  }

  private func mayShow(_ text: String, _ isNearAWord: Bool) -> Bool {
    !isDiscreet && (isNearAWord || Quoting.isWord(text) || Quoting.isPath(text))
  }

  /// How a key of the document is shown in the path of what stands below it.
  func step(_ key: String) -> String { Quoting.isWord(key) ? key : Quoting.hidden(key) }

  /// From now on, no error or warning shows those of the names in a path that may not be repeated.
  func hide(_ names: ArraySlice<ArraySlice<UInt8>>) {
    for name in names where !Quoting.isName(name) {
      hidden.insert(String(decoding: name, as: UTF8.self))
    }
  }

  func error(_ location: SourceLocation, _ text: String, isTransient: Bool = false) {
    errors.append(
      Diagnostic(location: location, text: presentable(text), isTransient: isTransient))
  }

  func warn(_ location: SourceLocation, _ text: String) {
    warnings.append(Diagnostic(location: location, text: presentable(text)))
  }

  private func presentable(_ text: String) -> String {
    redacted(hidden.reduce(text) { $0.replacing($1, with: Quoting.hidden($1)) })
  }
}
