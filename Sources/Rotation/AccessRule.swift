/// One kind of caller that is allowed something.
package enum AccessRule: Hashable, Sendable {
  case user(UInt32)
  /// As the primary group or a supplementary one.
  case group(UInt32)
  /// The systemd unit that the caller's process belongs to.
  case unit(String)
}
