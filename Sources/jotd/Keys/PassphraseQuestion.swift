import COpenSSL
import Rotation

/// What libcrypto is told when it asks for a passphrase or a PIN, and whether it did. It never asks
/// on a terminal.
final class PassphraseQuestion {
  let passphrase: Secret?
  var wasAsked = false

  init(_ passphrase: Secret?) { self.passphrase = passphrase }

  /// Lends `use` what libcrypto asks with, and what it hands on to that: this. Nil without memory.
  func withMethod<Result, Fault: Error>(
    _ use: (_ method: OpaquePointer, _ data: UnsafeMutableRawPointer) throws(Fault) -> Result
  ) throws(Fault) -> Result? {
    let answer:
      @convention(c) (UnsafeMutablePointer<CChar>?, CInt, CInt, UnsafeMutableRawPointer?)
        -> CInt = { buffer, room, _, data in
          guard let buffer = unsafe buffer, let data = unsafe data else { return -1 }
          return unsafe Unmanaged<PassphraseQuestion>.fromOpaque(data).takeUnretainedValue()
            .answer(UnsafeMutableBufferPointer(start: buffer, count: Int(room)))
        }
    guard let method = unsafe UI_UTIL_wrap_read_pem_callback(answer, 0) else { return nil }
    defer { unsafe UI_destroy_method(method) }
    return try unsafe use(method, Unmanaged.passUnretained(self).toOpaque())
  }

  /// Writes it to `buffer` and gives its length, as pem_password_cb(3) asks; -1 when there is none,
  /// or one that is longer. A newline at its end is an editor's.
  private func answer(_ buffer: UnsafeMutableBufferPointer<CChar>) -> CInt {
    wasAsked = true
    guard let passphrase else { return -1 }
    return unsafe passphrase.withBytes { bytes in
      var count = bytes.count
      while count > 0, unsafe [0x0a, 0x0d].contains(bytes[count - 1]) { count -= 1 }
      guard count <= buffer.count else { return -1 }
      for index in 0..<count { unsafe buffer[index] = CChar(bitPattern: bytes[index]) }
      return CInt(count)
    }
  }
}
