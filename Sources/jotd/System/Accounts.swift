import Glibc
import Rotation

/// The host's users and groups, by getpwnam(3) and getgrnam(3).
enum Accounts {
  /// The uid of a user, given by name or as digits; nil when there is none of that name, an error
  /// when that cannot be known.
  static func user(_ name: String) throws(Failure) -> UInt32? {
    if name.allSatisfy(\.isNumber), let number = UInt32(name), number != .max { return number }
    return try unsafe lookUp { buffer, count -> (Int32, UInt32?) in
      var entry = unsafe passwd()
      var found: UnsafeMutablePointer<passwd>?
      let status = unsafe getpwnam_r(name, &entry, buffer, count, &found)
      return unsafe (status, found == nil ? nil : entry.pw_uid)
    }
  }

  /// The gid of a group, as `user` gives the uid of a user.
  static func group(_ name: String) throws(Failure) -> UInt32? {
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
    name(user: uid).map { "\($0) (uid \(uid))" } ?? "uid \(uid)"
  }

  /// The name of a user; nil when it has none, or when that cannot be known.
  static func name(user uid: UInt32) -> String? {
    let name: String?? = try? unsafe lookUp { buffer, count -> (Int32, String?) in
      var entry = unsafe passwd()
      var found: UnsafeMutablePointer<passwd>?
      let status = unsafe getpwuid_r(uid, &entry, buffer, count, &found)
      return unsafe (status, found == nil ? nil : String(cString: entry.pw_name))
    }
    return name.flatMap(\.self)
  }

  /// The name of a group; nil when it has none, or when that cannot be known.
  static func name(group gid: UInt32) -> String? { entry(ofGroup: gid)?.name }

  /// The name of a user, and all groups of its account, the primary one too (getgrouplist(3)); nil
  /// when there is no such account, or when that cannot be known.
  static func account(of uid: UInt32) -> (name: String, groups: Set<UInt32>)? {
    let found: (String, UInt32)?? = try? unsafe lookUp {
      buffer, count -> (Int32, (String, UInt32)?) in
      var entry = unsafe passwd()
      var found: UnsafeMutablePointer<passwd>?
      let status = unsafe getpwuid_r(uid, &entry, buffer, count, &found)
      return unsafe (status, found == nil ? nil : (String(cString: entry.pw_name), entry.pw_gid))
    }
    guard let (name, primary) = found.flatMap(\.self) else { return nil }
    var groups = [gid_t](repeating: 0, count: 1024)
    var count = Int32(groups.count)
    if unsafe getgrouplist(name, primary, &groups, &count) < 0 {
      groups = [gid_t](repeating: 0, count: Int(count))
      guard unsafe getgrouplist(name, primary, &groups, &count) >= 0 else { return nil }
    }
    return (name, Set(groups.prefix(Int(count))).union([primary]))
  }

  /// The users whom the group's entry names, and the one who has its name: others of whom it is the
  /// primary group are not known without asking for all accounts.
  static func members(of gid: UInt32) -> [UInt32] {
    guard let (name, members) = entry(ofGroup: gid) else { return [] }
    return (members + [name]).compactMap { (try? user($0)).flatMap(\.self) }.filter {
      account(of: $0)?.groups.contains(gid) ?? false
    }
  }

  private static func entry(ofGroup gid: UInt32) -> (name: String, members: [String])? {
    let found: (String, [String])?? = try? unsafe lookUp {
      buffer, count -> (Int32, (String, [String])?) in
      var entry = unsafe Glibc.group()
      var found: UnsafeMutablePointer<Glibc.group>?
      let status = unsafe getgrgid_r(gid, &entry, buffer, count, &found)
      guard unsafe found != nil else { return (status, nil) }
      var members: [String] = []
      var next = unsafe entry.gr_mem
      while let name = unsafe next?.pointee {
        unsafe members.append(String(cString: name))
        unsafe next = next?.advanced(by: 1)
      }
      return unsafe (status, (String(cString: entry.gr_name), members))
    }
    return found.flatMap(\.self)
  }

  /// The uid that the daemon acts as.
  static let own = geteuid()
  /// The gid that it acts with first: what its new files get.
  static let ownGroup = getegid()
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
  ) throws(Failure) -> Value? {
    var count = 1024
    while count <= 1 << 20 {
      let (status, value) = unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: count) {
        unsafe call($0.baseAddress!, count)
      }
      switch status {
      case ERANGE: count *= 4
      // What getpwnam(3) lists for a name that is not there.
      case 0, ENOENT, ESRCH, EBADF, EPERM: return value
      default: throw Failure(errno: status)
      }
    }
    throw Failure(errno: ERANGE)
  }
}
