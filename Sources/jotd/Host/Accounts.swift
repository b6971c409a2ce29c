import Glibc

/// The host's users and groups, by getpwnam(3) and getgrnam(3).
enum Accounts {
  /// The uid of a user, given by name or as digits; nil when there is none of that name, an error
  /// when that cannot be known.
  static func user(_ name: String) throws(SystemError) -> UInt32? {
    if name.allSatisfy(\.isNumber), let number = UInt32(name), number != .max { return number }
    return try unsafe lookUp { buffer, count -> (Int32, UInt32?) in
      var entry = unsafe passwd()
      var found: UnsafeMutablePointer<passwd>?
      let status = unsafe getpwnam_r(name, &entry, buffer, count, &found)
      return unsafe (status, found == nil ? nil : entry.pw_uid)
    }
  }

  /// The gid of a group, as `user` gives the uid of a user.
  static func group(_ name: String) throws(SystemError) -> UInt32? {
    if name.allSatisfy(\.isNumber), let number = UInt32(name), number != .max { return number }
    return try unsafe lookUp { buffer, count -> (Int32, UInt32?) in
      var entry = unsafe Glibc.group()
      var found: UnsafeMutablePointer<Glibc.group>?
      let status = unsafe getgrnam_r(name, &entry, buffer, count, &found)
      return unsafe (status, found == nil ? nil : entry.gr_gid)
    }
  }

  /// How to call a user in a message: `camera (uid 999)`, or the number alone.
  static func describe(user uid: UInt32) -> String {
    let name: String?? = try? unsafe lookUp { buffer, count -> (Int32, String?) in
      var entry = unsafe passwd()
      var found: UnsafeMutablePointer<passwd>?
      let status = unsafe getpwuid_r(uid, &entry, buffer, count, &found)
      return unsafe (status, found == nil ? nil : String(cString: entry.pw_name))
    }
    return name.flatMap(\.self).map { "\($0) (uid \(uid))" } ?? "uid \(uid)"
  }

  /// The uid that the daemon acts as.
  static let own = geteuid()
  /// Who may own what lies on the way to a delivery: root and the daemon's own user. For root,
  /// the service's user too, so that root can check what the service is going to do.
  static let trusted: Set<UInt32> = {
    let service = own == 0 ? (try? user("jotd")).flatMap(\.self) : nil
    return Set([0, own, service].compactMap(\.self))
  }()
  /// The gids that the daemon acts with, supplementary ones too.
  static let ownGroups: Set<UInt32> = {
    let count = getgroups(0, nil)
    var groups = [gid_t](repeating: 0, count: Int(max(0, count)))
    let filled = unsafe getgroups(count, &groups)
    return Set(groups.prefix(Int(max(0, filled)))).union([getegid()])
  }()

  /// Calls a reentrant look-up with a buffer that grows until the entry fits.
  private static func lookUp<Value>(
    _ call: (UnsafeMutablePointer<CChar>, Int) -> (status: Int32, value: Value?)
  ) throws(SystemError) -> Value? {
    var count = 1024
    while count <= 1 << 20 {
      let (status, value) = unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: count) {
        unsafe call($0.baseAddress!, count)
      }
      switch status {
      case ERANGE: count *= 4
      // What getpwnam(3) lists for a name that is not there.
      case 0, ENOENT, ESRCH, EBADF, EPERM: return value
      default: throw SystemError(code: status)
      }
    }
    throw SystemError(code: ERANGE)
  }
}
