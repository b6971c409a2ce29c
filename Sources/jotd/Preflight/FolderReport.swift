import Rotation

/// What there is to say of a folder.
struct FolderReport: Sendable {
  /// A file by its folder's inode and its name: two paths with the same are one file.
  struct Name: Hashable, Sendable {
    let device: UInt64
    let inode: UInt64
    let name: Path
  }

  var faults: [(location: SourceLocation, text: String, isTransient: Bool)] = []
  var warnings: [(location: SourceLocation, text: String)] = []
  /// How callers come to the query socket, if it is in this folder.
  var way: SocketWay?
  var names: [(index: Int, Name)] = []
  /// Those of its deliveries that are files on a disk.
  var onDisk: [Int] = []

  mutating func add(_ location: SourceLocation, _ text: String, _ isTransient: Bool = false) {
    faults.append((location, text, isTransient))
  }
}
