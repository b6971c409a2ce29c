import CLinux
import Glibc
import Rotation

/// A descriptor that this value alone owns, closed with it. Names are relative to its folder; only
/// `open` without `.noFollow` and `changeMode(of:)` follow a symbolic link that has such a name.
struct Descriptor: ~Copyable {
  let number: Int32

  init(owning number: Int32) { self.number = number }
  deinit { close(number) }

  /// Gives the descriptor away, open: the caller closes it.
  consuming func release() -> Int32 {
    let number = number
    discard self
    return number
  }

  /// Connects to the Unix socket at `path`. Connecting, and then each read and each write, takes
  /// `limit` at most, in whole seconds rounded down, but at least one; EAGAIN after that.
  static func connect(_ path: String, limit: Duration) throws(Failure) -> Descriptor {
    let seconds = Int32(clamping: max(1, limit.components.seconds))
    return Descriptor(owning: try result { unsafe linux_connect(path, seconds) })
  }

  /// What open(2) is asked for; always close-on-exec.
  struct Options: OptionSet {
    let rawValue: Int32
    static let write = Options(rawValue: O_WRONLY)
    static let create = Options(rawValue: O_CREAT)
    static let createNew = Options(rawValue: O_CREAT | O_EXCL)
    static let noFollow = Options(rawValue: O_NOFOLLOW)
    static let folder = Options(rawValue: O_DIRECTORY)
    static let nonBlocking = Options(rawValue: O_NONBLOCK)
    static let pathOnly = Options(rawValue: linux_O_PATH)
  }

  /// Opens `path`, relative to the working folder if it is relative.
  static func open(_ path: String, _ options: Options = []) throws(Failure) -> Descriptor {
    Descriptor(owning: try result { unsafe Glibc.open(path, options.rawValue | O_CLOEXEC) })
  }

  /// Opens `name` in this folder; a file that is created has mode 0600.
  func open(_ name: String, _ options: Options) throws(Failure) -> Descriptor {
    Descriptor(
      owning: try result { unsafe openat(number, name, options.rawValue | O_CLOEXEC, 0o600) })
  }

  // MARK: Content

  /// Writes all of `bytes` at the current position.
  func write(_ bytes: [UInt8]) throws(Failure) { try Descriptor.write(bytes, to: number) }

  /// Writes all of `bytes` to an open descriptor that somebody else owns.
  static func write(_ bytes: [UInt8], to number: Int32) throws(Failure) {
    try write(bytes.span, to: number)
  }

  /// The same of bytes that are lent.
  static func write(_ bytes: Span<UInt8>, to number: Int32) throws(Failure) {
    var written = 0
    while written < bytes.count {
      written += try result {
        unsafe bytes.withUnsafeBytes { buffer in
          unsafe Glibc.write(number, buffer.baseAddress! + written, bytes.count - written)
        }
      }
    }
  }

  /// Reads to the end of the file; EFBIG when it has more than `limit` bytes.
  func read(upTo limit: Int) throws(Failure) -> [UInt8] {
    var bytes: [UInt8] = []
    while true {
      let room = min(64 << 10, limit + 1 - bytes.count)
      var count = 0
      var failure: Failure?
      unsafe withUnsafeTemporaryAllocation(byteCount: room, alignment: 1) { buffer in
        do throws(Failure) {
          count = try result { unsafe Glibc.read(number, buffer.baseAddress!, room) }
          unsafe bytes += buffer[..<count]
        } catch { failure = error }
      }
      if let failure { throw failure }
      if count == 0 { return bytes }
      guard bytes.count <= limit else { throw Failure(errno: EFBIG) }
    }
  }

  func truncate(to count: Int) throws(Failure) {
    try result { ftruncate(number, off_t(count)) }
  }

  // MARK: Attributes

  func status() throws(Failure) -> FileStatus {
    var found = stat()
    try result { unsafe fstat(number, &found) }
    return FileStatus(found)
  }

  /// Of `name` in this folder, itself if it is a link.
  func status(of name: String) throws(Failure) -> FileStatus {
    var found = stat()
    try result { unsafe fstatat(number, name, &found, AT_SYMLINK_NOFOLLOW) }
    return FileStatus(found)
  }

  /// Nil leaves the owner, or the group, as it is.
  func changeOwner(_ owner: UInt32?, _ group: UInt32?) throws(Failure) {
    try result { fchown(number, owner ?? .max, group ?? .max) }
  }

  func changeMode(_ mode: UInt16) throws(Failure) {
    try result { fchmod(number, mode_t(mode)) }
  }

  /// Locks the file for this process alone until it is closed (flock(2)); EWOULDBLOCK when
  /// somebody else has locked it.
  func lock() throws(Failure) {
    try result { linux_lock(number) }
  }

  /// Until the disk has it.
  func sync() throws(Failure) {
    try result { fsync(number) }
  }

  /// Whether the file system counts its inodes, and has none left for this user (statvfs(3)).
  var hasNoInodes: Bool {
    var found = statvfs()
    return unsafe fstatvfs(number, &found) == 0 && found.f_files > 0 && found.f_favail == 0
  }

  /// Whether the file system has no disk under it (tmpfs, ramfs).
  func isInMemory() throws(Failure) -> Bool {
    try result { linux_is_in_memory(number) } == 1
  }

  // MARK: Names in this folder

  func rename(_ name: String, to newName: String) throws(Failure) {
    try result { unsafe renameat(number, name, number, newName) }
  }

  func remove(_ name: String) throws(Failure) {
    try result { unsafe unlinkat(number, name, 0) }
  }

  func changeMode(of name: String, _ mode: UInt16) throws(Failure) {
    try result { unsafe fchmodat(number, name, mode_t(mode), 0) }
  }

  func changeOwner(of name: String, _ owner: UInt32?, _ group: UInt32?) throws(Failure) {
    try result {
      unsafe fchownat(number, name, owner ?? .max, group ?? .max, AT_SYMLINK_NOFOLLOW)
    }
  }

  func isMountRoot(_ name: String) throws(Failure) -> Bool {
    try result { unsafe linux_is_mount_root(number, name) } == 1
  }

  /// Throws unless names can be added to this folder.
  func checkWritable() throws(Failure) {
    try result { unsafe faccessat(number, ".", W_OK | X_OK, AT_EACCESS) }
  }

  /// The text of this symbolic link, which was opened with `.pathOnly` and `.noFollow`.
  func linkTarget() throws(Failure) -> String {
    var failure: Failure?
    let text = unsafe withUnsafeTemporaryAllocation(
      of: CChar.self, capacity: Limits.pathBytes + 1
    ) { buffer -> String in
      do throws(Failure) {
        let count = try result {
          unsafe readlinkat(number, "", buffer.baseAddress!, buffer.count)
        }
        return unsafe String(
          decoding: buffer[..<count].lazy.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      } catch {
        failure = error
        return ""
      }
    }
    if let failure { throw failure }
    return text
  }
}
