import Rotation

/// What there is to say of a folder.
struct FolderReport: Sendable {
  var faults: [(location: SourceLocation, text: String, isTransient: Bool)] = []
  var warnings: [(location: SourceLocation, text: String)] = []
  /// How callers come to the query socket, if it is in this folder.
  var way: SocketWay?
  /// Which folder it is, by whatever path; nil when it could not be opened.
  var id: FileStatus.ID?
  let deliveries: [FolderInspection.Target]
  /// Those of its deliveries that are files on a disk.
  var onDisk: [Int] = []

  mutating func add(_ location: SourceLocation, _ text: String, _ isTransient: Bool = false) {
    faults.append((location, text, isTransient))
  }
}
