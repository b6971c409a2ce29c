import Glibc
import Rotation

/// Failures of system calls.
extension Failure {
  /// That of an errno(3), in the host's words: always English, because jotd sets no locale.
  init(errno code: Int32) { self.init(unsafe String(cString: strerror(code)), code: code) }

  /// That which the calling thread's last system call left.
  static var last: Failure { Failure(errno: errno) }

  /// The same, and what it is about: `what: why`.
  func about(_ what: String) -> Failure { Failure("\(what): \(self)", code: code) }

  var isNotFound: Bool { code == ENOENT }

  /// Whether the host was in trouble, so that the same can go well a little later. Another one
  /// stays until somebody does something about it.
  var isTransient: Bool {
    [EIO, EMFILE, ENFILE, ENOMEM, ENOBUFS, ESTALE, ETIMEDOUT].contains(code)
  }
}

/// Makes a system call again while a signal interrupts it; throws what else it fails with.
@discardableResult
func result<Value: SignedInteger>(_ call: () -> Value) throws(Failure) -> Value {
  while true {
    let value = call()
    if value >= 0 { return value }
    let code = errno
    guard code == EINTR else { throw Failure(errno: code) }
  }
}
