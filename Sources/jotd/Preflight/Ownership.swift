import Rotation

/// What may be given to whom.
enum Ownership {
  /// Why the daemon may not give `path` to the group; nil when it may.
  static func fault(group: UInt32, at path: Path) -> String? {
    guard !Hardening.mayChangeOwner, !Accounts.ownGroups.contains(group) else { return nil }
    return
      "\(Accounts.describe(user: Accounts.own)) may not give \(path) to the group with gid "
      + "\(group): it needs CAP_CHOWN, or to be in that group"
  }

  /// The same for a user.
  static func fault(owner: UInt32, at path: Path) -> String? {
    guard !Hardening.mayChangeOwner, owner != Accounts.own else { return nil }
    return
      "\(Accounts.describe(user: Accounts.own)) may not give \(path) to "
      + "\(Accounts.describe(user: owner)): it needs CAP_CHOWN"
  }
}
