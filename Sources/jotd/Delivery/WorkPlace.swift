import Rotation

/// What a piece of work depends on: a folder, and the mount point of its file system. What hangs
/// holds up its folder; when much hangs on one file system, that.
struct WorkPlace: Hashable, Sendable {
  let folder: Path
  let fileSystem: String
  /// Whether that has no disk under it and no server behind it, as far as the name tells: then
  /// nothing is expected to hang there.
  let isInMemory: Bool

  /// The rest follows from the folder, nearly always.
  func hash(into hasher: inout Hasher) { hasher.combine(folder) }
}
