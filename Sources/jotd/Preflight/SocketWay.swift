import Rotation

/// How callers come to a socket: to connect takes the permission to write (unix(7)).
struct SocketWay: Sendable {
  let folders: FolderWay
  let owner: UInt32
  let group: UInt32
  let mode: UInt16

  /// Why a process with this user and these groups cannot connect; nil when it can.
  enum Obstacle: Equatable {
    case folder(String)
    /// It is not in the socket's group, for which there is a permission.
    case group
    case mode
  }

  func obstacle(to user: UInt32, _ groups: Set<UInt32>) -> Obstacle? {
    if let path = folders.obstacle(to: user, groups) { return .folder(path) }
    if Permission.allows(2, to: user, groups, owner: owner, group: group, mode: mode) { return nil }
    return user != owner && !groups.contains(group) && mode & 0o020 != 0 ? .group : .mode
  }
}
