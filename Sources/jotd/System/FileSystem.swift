import CLinux
import Glibc
import Rotation

/// What stat(2) tells that jotd asks for.
struct FileStatus: Equatable {
  enum Kind { case file, folder, link, pipe, socket, other }

  let kind: Kind
  /// Permission bits, 0 to 0o7777.
  let mode: UInt16
  let owner: UInt32
  let group: UInt32
  let bytes: Int64
  /// How many names it has.
  let links: UInt64
  let device: UInt64
  let inode: UInt64
  /// Times of the last change of content and of the rest, in nanoseconds since 1970.
  let modified: Int64
  let changed: Int64

  fileprivate init(_ found: stat) {
    kind =
      switch found.st_mode & S_IFMT {
      case S_IFREG: .file
      case S_IFDIR: .folder
      case S_IFLNK: .link
      case S_IFIFO: .pipe
      case S_IFSOCK: .socket
      default: .other
      }
    mode = UInt16(found.st_mode & 0o7777)
    owner = found.st_uid
    group = found.st_gid
    bytes = Int64(found.st_size)
    links = UInt64(found.st_nlink)
    device = UInt64(found.st_dev)
    inode = UInt64(found.st_ino)
    modified = linux_nanoseconds(found.st_mtim)
    changed = linux_nanoseconds(found.st_ctim)
  }
}

/// An open file or folder that it alone owns, closed with it. All operations are relative to it
/// and follow no symbolic link in a name.
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

  /// Connects to the Unix socket at `path`; what is read and written then may take `limit`.
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

/// What is asked by path rather than by descriptor.
enum FileSystem {
  /// The names in a folder, in no order, without `.` and `..`.
  static func names(in folder: String) throws(Failure) -> [String] {
    var names: [String] = []
    try visit(folder) { names.append($0) }
    return names
  }

  /// Calls `use` with each name in a folder, in no order, without `.` and `..`.
  static func visit(_ folder: String, _ use: (String) -> Void) throws(Failure) {
    guard let stream = unsafe opendir(folder) else { throw Failure.last }
    defer { unsafe closedir(stream) }
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
      }
      if name != "." && name != ".." { use(name) }
    }
  }

  /// The bytes of a regular file; EFBIG when it has more than `limit`, EINVAL when it is something
  /// else. Does not wait for whoever might write to a pipe.
  static func contents(of path: String, upTo limit: Int) throws(Failure) -> [UInt8] {
    let file = try Descriptor.open(path, [.nonBlocking])
    guard try file.status().kind == .file else { throw Failure(errno: EINVAL) }
    return try file.read(upTo: limit)
  }

  /// Makes a new file of mode 0600 with these bytes, and returns once the disk has it. Throws EEXIST
  /// when anything is there, a link too; after any other error there is no file.
  static func createOwnerOnly(_ path: String, _ bytes: [UInt8]) throws(Failure) {
    let slash = path.utf8.lastIndex(of: UInt8(ascii: "/"))
    let name = slash.map { String(path[path.utf8.index(after: $0)...]) } ?? path
    let folder = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let parent = try Descriptor.open(folder, [.folder])
    let file = try parent.open(name, [.write, .createNew, .noFollow])
    do {
      // Whatever the umask.
      try file.changeMode(0o600)
      try file.write(bytes)
      try file.sync()
      try parent.sync()
    } catch {
      try? parent.remove(name)
      throw error
    }
  }

  /// Of what `path` leads to, links followed.
  static func status(of path: String) throws(Failure) -> FileStatus {
    var found = stat()
    try result { unsafe stat(path, &found) }
    return FileStatus(found)
  }

  /// Throws unless this process may execute the program at `path`.
  static func checkExecutable(_ path: String) throws(Failure) {
    try result { unsafe faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) }
  }

  /// Whether the permissions of `path` are more than its mode says (acl(5)).
  static func hasAccessList(_ path: String) -> Bool {
    unsafe linux_has_access_list(path)
  }

  /// The fields of /proc/PID/stat (proc(5)) from the end of the process's name on, which is in
  /// parentheses and may hold anything: the state has index 1. Nil when there is no such process.
  static func status(ofProcess pid: String) -> [String]? {
    guard let bytes = try? contents(of: "/proc/\(pid)/stat", upTo: 4096),
      let end = bytes.lastIndex(of: UInt8(ascii: ")"))
    else { return nil }
    return bytes[end...].split { $0 == 0x20 || $0 == 0x0a }.map {
      String(decoding: $0, as: UTF8.self)
    }
  }

  /// The path that `path` leads to, without links; nil when it leads nowhere.
  static func resolved(_ path: String) -> String? {
    guard let found = unsafe realpath(path, nil) else { return nil }
    defer { unsafe free(found) }
    return unsafe String(cString: found)
  }
}

extension BidirectionalCollection<UInt8> {
  /// Whether these bytes end with those of `end`. `String.hasSuffix` compares characters, and what
  /// stands before the suffix can make another character of its beginning.
  func ends(with end: String) -> Bool { suffix(end.utf8.count).elementsEqual(end.utf8) }
}
