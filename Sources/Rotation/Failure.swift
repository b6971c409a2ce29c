/// Why something could not be done.
package struct Failure: Error, Equatable, Sendable, CustomStringConvertible {
  /// errno(3), or 0 when no system call failed.
  package let code: Int32
  /// What is wrong, where, and what to do about it. Never token or secret bytes.
  package let description: String

  package init(_ description: String, code: Int32 = 0) {
    self.code = code
    self.description = description
  }
}
