import Glibc

/// The environment that jotd was started with.
enum Environment {
  /// The value of a variable; nil when it is not set or empty.
  static subscript(name: String) -> String? {
    guard let value = unsafe getenv(name) else { return nil }
    let text = unsafe String(cString: value)
    return text.isEmpty ? nil : text
  }
}
