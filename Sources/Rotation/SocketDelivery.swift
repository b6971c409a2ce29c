/// A Unix socket that gives the identity's fresh token to whoever connects and reads.
package struct SocketDelivery: Hashable, Sendable {
  package let path: Path
  /// uid and gid. Nil: jotd's own user, and the group that new files get in the folder.
  package let owner: UInt32?
  package let group: UInt32?
  /// Permission bits: who may connect needs to be able to write (unix(7)).
  package let mode: UInt16

  package init(path: Path, owner: UInt32?, group: UInt32?, mode: UInt16) {
    self.path = path
    self.owner = owner
    self.group = group
    self.mode = mode
  }
}
