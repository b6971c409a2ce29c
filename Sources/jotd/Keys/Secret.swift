import CKeyMemory
import COpenSSL
import Glibc
import Rotation

/// Key material, in OpenSSL's secure heap (OPENSSL_secure_malloc(3)): between guard pages, locked
/// in memory and left out of core files as far as the host permits; wiped when the last owner lets
/// go.
///
/// `@unchecked`: the bytes are written in `init` alone and only read after it.
@safe final class Secret: @unchecked Sendable {
  private let bytes: UnsafeMutablePointer<UInt8>
  private let capacity: Int
  let count: Int

  /// OpenSSL's memory for keys, set up once: see `Limits.keyMemory`. Must come before
  /// all other use of OpenSSL, which takes no other allocator once it has allocated something
  /// (CRYPTO_set_mem_functions(3)): the process ends if it comes later.
  static let arena: Void = {
    guard keymemory_prepare(Limits.keyMemory) != 0 else {
      fatalError("OpenSSL's secure heap cannot be made: keys would not be guarded")
    }
  }()

  /// Room for `capacity` bytes, filled by `fill`, which returns how many it used.
  @unsafe private init(
    capacity: Int, fill: (UnsafeMutableBufferPointer<UInt8>) throws(Failure) -> Int
  ) throws(Failure) {
    Secret.arena
    guard let room = unsafe jotd_secure_malloc(max(1, capacity)) else {
      throw Failure("the memory for keys is full (\(Limits.keyMemory >> 10) KiB)", code: ENOMEM)
    }
    unsafe bytes = unsafe room.bindMemory(to: UInt8.self, capacity: max(1, capacity))
    self.capacity = max(1, capacity)
    do {
      count = try unsafe fill(UnsafeMutableBufferPointer(start: bytes, count: capacity))
    } catch {
      count = 0
      throw error
    }
  }

  deinit { unsafe jotd_secure_clear_free(bytes, capacity) }

  /// Lends the bytes; they must not be copied to ordinary memory.
  func withBytes<Result, Fault: Error>(
    _ use: (UnsafeBufferPointer<UInt8>) throws(Fault) -> Result
  ) throws(Fault) -> Result {
    try unsafe use(UnsafeBufferPointer(start: bytes, count: count))
  }

  /// Writes the bytes to a file, past ordinary memory.
  func write(to target: borrowing Descriptor) throws(Failure) {
    let number = target.number
    try withSpan { bytes throws(Failure) in try Descriptor.write(bytes, to: number) }
  }

  /// Lends the bytes to be read; they must not be copied to ordinary memory.
  func withSpan<Result, Fault: Error>(
    _ use: (Span<UInt8>) throws(Fault) -> Result
  ) throws(Fault) -> Result {
    try unsafe use(Span(_unsafeStart: bytes, count: count))
  }

  /// At most `capacity` bytes, appended by `build`.
  convenience init(
    capacity: Int, build: (inout OutputSpan<UInt8>) throws(Failure) -> Void
  ) throws(Failure) {
    try unsafe self.init(capacity: capacity) { buffer throws(Failure) in
      var output = unsafe OutputSpan(buffer: buffer, initializedCount: 0)
      try build(&output)
      return unsafe output.finalize(for: buffer)
    }
  }

  // MARK: Where secrets come from

  /// The rest of an open file; nil when it has more than `limit` bytes.
  convenience init?(
    reading file: borrowing Descriptor, upTo limit: Int = Limits.secretBytes
  ) throws(Failure) {
    let number = file.number
    var total = 0
    try unsafe self.init(capacity: limit + 1) { buffer throws(Failure) in
      while total < buffer.count {
        let count = try result {
          unsafe read(number, buffer.baseAddress! + total, buffer.count - total)
        }
        if count == 0 { break }
        total += count
      }
      return total
    }
    if total > limit { return nil }
  }

  /// The next packet on a socket; nil when it has more than `limit` bytes, or none.
  convenience init?(packetFrom socket: borrowing Descriptor, upTo limit: Int) throws(Failure) {
    let number = socket.number
    var total = 0
    try unsafe self.init(capacity: limit + 1) { buffer throws(Failure) in
      total = try result { unsafe read(number, buffer.baseAddress!, buffer.count) }
      return total
    }
    if total > limit || total == 0 { return nil }
  }

  /// Takes the value of an environment variable over, and wipes it where it was, so that
  /// /proc/PID/environ and child processes do not have it. Nil when it is not set or too long.
  convenience init?(
    takingVariable name: String, upTo limit: Int = Limits.secretBytes
  ) throws(Failure) {
    guard let value = unsafe getenv(name) else { return nil }
    let count = unsafe strlen(value)
    guard count <= limit else { return nil }
    try unsafe self.init(capacity: count) { buffer in
      unsafe memcpy(buffer.baseAddress!, value, count)
      unsafe OPENSSL_cleanse(value, count)
      return count
    }
    unsafe unsetenv(name)
  }

  /// 32 random bytes, from OpenSSL's generator for secrets.
  static func random() throws(Failure) -> Secret {
    try unsafe Secret(capacity: 32) { buffer throws(Failure) in
      guard unsafe RAND_priv_bytes(buffer.baseAddress!, 32) == 1 else {
        throw Failure("OpenSSL's random generator failed")
      }
      return 32
    }
  }

  // MARK: Encodings

  /// The bytes that this text encodes; throws what is wrong with it.
  func decoded(_ encoding: SecretEncoding) throws(Failure) -> Secret {
    switch encoding {
    case .utf8: return self
    case .hex:
      return try decoded(bits: 4, "hexadecimal digits in pairs") { digit in
        switch digit {
        case 0x30...0x39: digit - 0x30
        case 0x41...0x46: digit - 0x41 + 10
        case 0x61...0x66: digit - 0x61 + 10
        default: nil
        }
      }
    case .base64:
      return try decoded(bits: 6, "base64 (RFC 4648 section 4 or 5)") { digit in
        switch digit {
        case 0x41...0x5a: digit - 0x41
        case 0x61...0x7a: digit - 0x61 + 26
        case 0x30...0x39: digit - 0x30 + 52
        case UInt8(ascii: "+"), UInt8(ascii: "-"): 62
        case UInt8(ascii: "/"), UInt8(ascii: "_"): 63
        default: nil
        }
      }
    }
  }

  /// Digits of `bits` each to bytes. White space at the end is not counted; base64's padding may
  /// be there or not, but must be right if it is.
  private func decoded(
    bits: Int, _ form: String, value: (UInt8) -> UInt8?
  ) throws(Failure) -> Secret {
    let wrong = Failure("the secret is not \(form), as its encoding says")
    var end = count
    while end > 0, unsafe [0x20, 0x09, 0x0a, 0x0d].contains(bytes[end - 1]) { end -= 1 }
    let padded = end
    while bits == 6, end > 0, unsafe bytes[end - 1] == UInt8(ascii: "=") { end -= 1 }
    let padding = padded - end
    guard padding == 0 || (padding <= 2 && padded % 4 == 0), end * bits % 8 < bits else {
      throw wrong
    }
    return try unsafe Secret(capacity: end * bits / 8 + 1) { buffer throws(Failure) in
      var group: UInt32 = 0
      var waiting = 0
      var length = 0
      for index in 0..<end {
        guard let digit = unsafe value(bytes[index]) else { throw wrong }
        group = group << UInt32(bits) | UInt32(digit)
        waiting += bits
        if waiting >= 8 {
          waiting -= 8
          unsafe buffer[length] = UInt8(truncatingIfNeeded: group >> UInt32(waiting))
          length += 1
        }
      }
      guard group & (1 << UInt32(waiting) - 1) == 0 else { throw wrong }
      return length
    }
  }

  /// As text: how a new private key is shown to its owner.
  var text: String { unsafe withBytes { unsafe String(decoding: $0, as: UTF8.self) } }

  /// In base64 with padding (RFC 4648 section 4): how a new secret is shown to its owner.
  var base64: String {
    unsafe withBytes { key in
      var text = [UInt8](repeating: 0, count: (key.count + 2) / 3 * 4 + 1)
      let length = unsafe EVP_EncodeBlock(&text, key.baseAddress!, Int32(key.count))
      return String(decoding: text.prefix(Int(length)), as: UTF8.self)
    }
  }

  /// The same without newlines at its end.
  var withoutNewline: Secret {
    get throws(Failure) {
      var end = count
      while end > 0, unsafe [0x0a, 0x0d].contains(bytes[end - 1]) { end -= 1 }
      if end == count { return self }
      return try withSpan { bytes throws(Failure) in
        try Secret(capacity: end) { output in for index in 0..<end { output.append(bytes[index]) } }
      }
    }
  }

  /// Compares in constant time.
  func isSame(as other: Secret) -> Bool {
    unsafe count == other.count && CRYPTO_memcmp(bytes, other.bytes, count) == 0
  }

  // MARK: Weakness

  /// Why the secret should not sign with `algorithm`; nil when nothing speaks against it.
  func weakness(for algorithm: Algorithm) -> String? {
    if endsLike(wellKnown: Secret.wellKnown) {
      return "the secret is a well-known example, which anybody can sign with"
    }
    if count < algorithm.hashBytes {
      return "the secret has \(count) bytes: \(algorithm.rawValue) asks for "
        + "\(algorithm.hashBytes) at least (RFC 7518 section 3.2)"
    }
    return nil
  }

  /// Whether the last byte is a newline, which `echo` adds and no other program knows of.
  var endsWithNewline: Bool { unsafe count > 0 && bytes[count - 1] == 0x0a }

  private func endsLike(wellKnown examples: [String]) -> Bool {
    var end = count
    while end > 0, unsafe [0x20, 0x09, 0x0a, 0x0d].contains(bytes[end - 1]) { end -= 1 }
    return examples.contains { example in
      example.utf8.count == end
        && zip(example.utf8, 0..<end).allSatisfy { byte, index in
          unsafe byte == (0x41...0x5a ~= bytes[index] ? bytes[index] + 32 : bytes[index])
        }
    }
  }

  /// Secrets of guides, tutorials and templates, in lower case.
  private static let wellKnown = [
    "dev-secret-change-me", "your-secret-key", "edge-device-secret-key-change-in-production",
    "test-secret-key", "your-secret-key-here", "your-super-secret-key", "your-256-bit-secret",
    "your-384-bit-secret", "your-512-bit-secret", "a-string-secret-at-least-256-bits-long",
    "a-valid-string-secret-that-is-at-least-384-bits-long",
    "a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
    "your-secret-key-change-in-production", "your-secret-key-change-this-in-production",
    "change-me-in-production", "change-this-secret-in-production", "super-secret-key",
    "supersecretkey", "supersecret", "my-secret-key", "mysecretkey", "secret-key", "secretkey",
    "secret", "changeme", "change-me", "password", "jwt-secret", "jwt_secret", "your-jwt-secret",
    "your_jwt_secret", "your_secret_key", "shhhhh", "thisisasecret", "keyboard cat",
    "your-very-long-and-secure-secret-key-here",
  ]
}
