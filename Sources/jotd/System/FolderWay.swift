import Rotation

/// The folders from the root to one of them, all of which whoever comes there has to pass
/// (path_resolution(7)).
struct FolderWay: Sendable {
  /// Without those whose permissions have a list of their own (acl(5)): what that says is not
  /// judged.
  private var folders: [(path: String, status: FileStatus)] = []

  /// `path` is without links. A disk can hang.
  init(to path: String) {
    var folder = ""
    for name in [""] + Path(path).names {
      folder = folder == "/" ? "/\(name)" : "\(folder)/\(name)"
      if !FileSystem.hasAccessList(folder), let status = try? FileSystem.status(of: folder) {
        folders.append((folder, status))
      }
    }
  }

  /// Whether everybody may pass: then there is nobody to look up.
  var isOpen: Bool { folders.allSatisfy { $0.status.mode & 0o111 == 0o111 } }

  /// The first folder that a process with this user and these groups may not pass; nil for none.
  func obstacle(to user: UInt32, _ groups: Set<UInt32>) -> String? {
    folders.first { !$0.status.allows(1, to: user, groups) }?.path
  }
}

extension FileStatus {
  /// Whether the mode gives this permission, 4, 2 or 1, to a process (path_resolution(7)).
  func allows(_ permission: UInt16, to user: UInt32, _ groups: Set<UInt32>) -> Bool {
    Permission.allows(permission, to: user, groups, owner: owner, group: group, mode: mode)
  }
}

enum Permission {
  /// The same for what is not there yet.
  static func allows(
    _ permission: UInt16, to user: UInt32, _ groups: Set<UInt32>, owner: UInt32, group: UInt32,
    mode: UInt16
  ) -> Bool {
    if user == 0 { return true }
    let bits = user == owner ? mode >> 6 : groups.contains(group) ? mode >> 3 : mode
    return bits & permission != 0
  }
}
