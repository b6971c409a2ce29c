import COpenSSL
import Rotation
import Synchronization

/// What libcrypto is told when it asks for a passphrase or a PIN, and whether it did. It never asks
/// on a terminal.
///
/// `@unchecked`: one thread at a time opens a key.
final class PassphraseQuestion: @unchecked Sendable {
  let passphrase: Secret?
  var wasAsked = false

  init(_ passphrase: Secret?) { self.passphrase = passphrase }

  /// Lends `use` what libcrypto asks with, and what it hands on to that: this. Nil without memory.
  func withMethod<Result, Fault: Error>(
    _ use: (_ method: OpaquePointer, _ data: UnsafeMutableRawPointer) throws(Fault) -> Result
  ) throws(Fault) -> Result? {
    guard let method = unsafe UI_UTIL_wrap_read_pem_callback(PassphraseQuestion.ask, 0) else {
      return nil
    }
    defer { unsafe UI_destroy_method(method) }
    return try unsafe use(method, Unmanaged.passUnretained(self).toOpaque())
  }

  /// The same for as long as the process lives, and for whoever asks without being told how, which
  /// is on the terminal else: drivers ask when they like.
  func withLastingMethod<Result>(
    _ use: (_ method: OpaquePointer, _ data: UnsafeMutableRawPointer) -> Result
  ) -> Result? {
    guard let method = unsafe UI_UTIL_wrap_read_pem_callback(PassphraseQuestion.askLasting, 0)
    else { return nil }
    PassphraseQuestion.lasting.withLock { $0 = self }
    unsafe UI_set_default_method(method)
    return unsafe use(method, Unmanaged.passUnretained(self).toOpaque())
  }

  private static let lasting = Mutex<PassphraseQuestion?>(nil)

  private typealias Ask =
    @convention(c) (UnsafeMutablePointer<CChar>?, CInt, CInt, UnsafeMutableRawPointer?) -> CInt

  /// pem_password_cb(3), with the question as its data.
  private static let ask: Ask = { buffer, room, _, data in
    guard let buffer = unsafe buffer, let data = unsafe data else { return -1 }
    return unsafe Unmanaged<PassphraseQuestion>.fromOpaque(data).takeUnretainedValue()
      .answer(UnsafeMutableBufferPointer(start: buffer, count: Int(room)))
  }

  /// The same with whatever a driver has as its data.
  private static let askLasting: Ask = { buffer, room, _, _ in
    guard let buffer = unsafe buffer, let question = lasting.withLock(\.self) else { return -1 }
    return unsafe question.answer(UnsafeMutableBufferPointer(start: buffer, count: Int(room)))
  }

  /// Writes it to `buffer` and gives its length, as pem_password_cb(3) asks; -1 when there is none,
  /// or one that is longer.
  private func answer(_ buffer: UnsafeMutableBufferPointer<CChar>) -> CInt {
    wasAsked = true
    guard let passphrase else { return -1 }
    return unsafe passphrase.withBytes { bytes in
      guard bytes.count <= buffer.count else { return -1 }
      for index in bytes.indices { unsafe buffer[index] = CChar(bitPattern: bytes[index]) }
      return CInt(bytes.count)
    }
  }
}
