import Rotation

/// The files that jotd reads, by inode, because a file can have several paths: nothing may be
/// delivered over them.
struct FilesRead: Sendable {
  private var meanings: [FileStatus.ID: String] = [:]

  init(_ settings: Settings) {
    var paths = settings.files.map { ($0, "the configuration") }
    for key in settings.keys {
      paths += SecretLoader(key: key.settings).paths.map { ($0, "the secret") }
    }
    for (path, meaning) in paths {
      guard let status = try? FileSystem.status(of: path) else { continue }
      meanings[status.id] = meaning
    }
  }

  /// What jotd reads the file for; nil when it does not.
  subscript(file: FileStatus.ID) -> String? { meanings[file] }

  /// Whether any of them is on the file system of this device.
  func areAny(on device: UInt64) -> Bool { meanings.keys.contains { $0.device == device } }
}
