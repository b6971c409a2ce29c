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

  /// What the kernel gave.
  init(_ found: stat) {
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

  /// The same for all names of a file, and for no other file.
  struct ID: Hashable, Sendable {
    let device: UInt64
    let inode: UInt64
  }

  var id: ID { ID(device: device, inode: inode) }
}
