import Rotation

/// What a piece of work depends on: a folder, and the mount point of its file system. What hangs
/// holds up its folder; when much hangs on one file system, that.
struct WorkPlace: Hashable, Sendable {
  let folder: Path
  let fileSystem: String
}
