import CLinux
import Glibc
import Rotation

/// What is asked by path rather than by descriptor.
enum FileSystem {
  /// The names in a folder, in no order, without `.` and `..`.
  static func names(in folder: String) throws(Failure) -> [String] {
    var names: [String] = []
    try visit(folder) { names.append($0) }
    return names
  }

  /// Calls `use` with each name in a folder, in no order, without `.` and `..`. Throws when it
  /// cannot be opened, or not be read to its end.
  static func visit(_ folder: String, _ use: (String) -> Void) throws(Failure) {
    guard let stream = unsafe opendir(folder) else { throw Failure.last }
    defer { unsafe closedir(stream) }
    while true {
      errno = 0
      guard let entry = unsafe readdir(stream) else {
        guard errno == 0 else { throw Failure.last }
        return
      }
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

  /// Makes a new file of mode 0600 with these bytes, and returns once the disk has it. Throws
  /// EEXIST when anything is there, a link too; after any other error there is no file.
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
