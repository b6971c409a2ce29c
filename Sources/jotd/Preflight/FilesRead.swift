import Rotation

/// The files that jotd reads, by inode, because a file can have several paths: nothing may be
/// delivered over them.
struct FilesRead: Sendable {
  struct Inode: Hashable {
    let device: UInt64
    let inode: UInt64
  }

  private var meanings: [Inode: String] = [:]

  init(_ settings: Settings) {
    var paths = settings.files.map { ($0, "the configuration") }
    if let secret = SecretLoader(signing: settings.signing).path {
      paths.append((secret, "the secret"))
    }
    for (path, meaning) in paths {
      guard let status = try? FileSystem.status(of: path) else { continue }
      meanings[Inode(device: status.device, inode: status.inode)] = meaning
    }
  }

  subscript(status: FileStatus) -> String? {
    meanings[Inode(device: status.device, inode: status.inode)]
  }
}
