import Rotation

/// An open folder in whose path nobody but root and jotd's own user can replace anything.
final class Folder: Sendable {
  let path: Path
  let descriptor: Descriptor
  /// tmpfs or ramfs: there is nothing to sync.
  let isInMemory: Bool
  /// Others may add names here, but not take ours (the sticky bit, inode(7)).
  let isSticky: Bool
  /// The gid that a new file here gets: the folder's with its set-group-ID bit (inode(7)), and
  /// otherwise jotd's own.
  let groupOfNewFiles: UInt32

  /// Walks from the root to the folder, name by name, so that what was checked is what is opened.
  init(_ path: Path) throws(Failure) {
    let folder = try Folder.walk(path)
    self.path = path
    do {
      let status = try folder.status()
      isSticky = status.mode & 0o1022 > 0o1000
      groupOfNewFiles = status.mode & 0o2000 != 0 ? status.group : Accounts.ownGroup
      // The walk's descriptors are for paths only; fsync(2) needs one for reading.
      descriptor = try folder.open(".", [.folder])
      isInMemory = try descriptor.isInMemory()
    } catch { throw Folder.failure(error, at: path.description) }
  }

  private static func walk(_ path: Path) throws(Failure) -> Descriptor {
    var remaining = path.names
    var followed = 0
    var trail: [String] = []
    var here = try root()
    while !remaining.isEmpty {
      let name = remaining.removeFirst()
      if name == ".." {
        // From a link's target only: paths of the configuration have none.
        trail = trail.dropLast()
        remaining = trail + remaining
        trail = []
        here = try root()
        continue
      }
      let shown = "/" + (trail + [name]).joined(separator: "/")
      let next = try open(name, in: here, shown: shown)
      guard try check(next, shown: shown).kind == .link else {
        here = next
        trail.append(name)
        continue
      }
      followed += 1
      guard followed <= Limits.symbolicLinks else {
        throw Failure("\(shown): more than \(Limits.symbolicLinks) symbolic links in its path")
      }
      let target: String
      do { target = try next.linkTarget() } catch { throw failure(error, at: shown) }
      remaining = Path(target).names.filter { $0 != "." } + remaining
      if target.utf8.first == UInt8(ascii: "/") {
        trail = []
        here = try root()
      }
    }
    return here
  }

  private static func root() throws(Failure) -> Descriptor {
    let root: Descriptor
    do { root = try Descriptor.open("/", [.pathOnly, .folder]) } catch {
      throw failure(error, at: "/")
    }
    _ = try check(root, shown: "/")
    return root
  }

  private static func open(
    _ name: String, in folder: borrowing Descriptor, shown: String
  ) throws(Failure) -> Descriptor {
    do { return try folder.open(name, [.pathOnly, .noFollow]) } catch {
      throw failure(error, at: shown)
    }
  }

  /// Refuses what an untrusted user could replace, or replace things in.
  private static func check(
    _ descriptor: borrowing Descriptor, shown: String
  ) throws(Failure) -> FileStatus {
    let status: FileStatus
    do { status = try descriptor.status() } catch { throw failure(error, at: shown) }
    guard Accounts.trusted.contains(status.owner) else {
      throw Failure(
        "\(shown) belongs to \(Accounts.describe(user: status.owner)), who could replace what "
          + "jotd writes: deliver into a folder of root's or of jotd's own user, such as /run/jotd")
    }
    guard status.kind == .folder || status.kind == .link else {
      throw Failure("\(shown) is not a folder")
    }
    if status.kind == .folder, status.mode & 0o022 != 0, status.mode & 0o1000 == 0 {
      let who = status.mode & 0o002 != 0 ? "everybody" : "its group"
      throw Failure(
        "\(shown) can be written by \(who), who could replace what jotd writes: take the "
          + "permission away (chmod go-w \(shown)), or deliver elsewhere")
    }
    return status
  }

  private static func failure(_ error: Failure, at shown: String) -> Failure {
    let advice = error.isNotFound ? ": create the folder" : ""
    return Failure("\(shown): \(error)\(advice)", code: error.code)
  }
}
