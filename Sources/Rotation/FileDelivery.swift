/// A file that always holds the identity's fresh token.
package struct FileDelivery: Hashable, Sendable {
  package let path: Path
  package let format: Format
  /// uid and gid. Nil: jotd's own user, and the group that new files get in the folder; in place,
  /// those that the file has.
  package let owner: UInt32?
  package let group: UInt32?
  /// Permission bits, 0 to 0o7777.
  package let mode: UInt16
  /// Written through in place of renamed over: for a target that is a mount point.
  package let inPlace: Bool

  package init(
    path: Path, format: Format, owner: UInt32?, group: UInt32?, mode: UInt16, inPlace: Bool
  ) {
    self.path = path
    self.format = format
    self.owner = owner
    self.group = group
    self.mode = mode
    self.inPlace = inPlace
  }
}
