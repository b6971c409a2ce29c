import Rotation

/// Who may do what. Nothing is allowed that is not named.
struct Access: Sendable {
  private let operators: [AccessRule]
  private let leastLife: Duration?

  init(_ settings: Settings) {
    let always: [AccessRule] = [.user(0), .user(Accounts.own)]
    operators = always + (settings.socket?.operators ?? [])
    leastLife = settings.socket?.leastLife
  }

  /// Warns of units that are allowed something on the query socket, where this host cannot tell
  /// them.
  static func inspect(_ settings: Settings, _ diagnostics: Diagnostics) {
    func namesUnit(_ rules: [AccessRule]) -> Bool {
      rules.contains { if case .unit = $0 { true } else { false } }
    }
    let isUnitNamed =
      namesUnit(settings.socket?.operators ?? [])
      || settings.identities.contains { namesUnit($0.access) }
    guard let location = settings.socket?.location, isUnitNamed, !Peer.isUnitKnown else { return }
    diagnostics.warn(
      location,
      "this kernel does not tell the process of a caller (SO_PEERPIDFD, Linux 6.5): on the query "
        + "socket nobody is allowed by `unit`, only by `user` and `group`; credentials for units "
        + "are not concerned")
  }

  /// Whether `peer` may rotate, reload and read every token.
  func isOperator(_ peer: Peer) -> Bool { operators.contains { $0.matches(peer) } }

  /// Whether the user is an operator, whatever its groups and its unit.
  func isOperator(user: UInt32) -> Bool { operators.contains(.user(user)) }

  /// Whether `peer` may fetch the token of the identity, and read about it; where there is none,
  /// whether it may know that.
  func mayRead(_ identity: Identity?, _ peer: Peer) -> Bool {
    isOperator(peer) || (identity?.access ?? []).contains { $0.matches(peer) }
  }

  /// The remaining life below which a token of the identity is replaced, if it can be, before it is
  /// handed out as a credential, which stays as it is until its unit starts again.
  func leastLife(_ identity: Identity) -> Duration {
    min(leastLife ?? identity.lifetime / 2, identity.lifetime * Limits.credentialLife)
  }
}

extension Identity {
  /// Whether systemd may give the token to this unit as a credential: only if the unit is named,
  /// because systemd asks as root for everybody.
  func isLoadable(by unit: String) -> Bool { access.contains(.unit(unit)) }

  /// Whether the unit may come to have the next token, too: a hook manages it, or runs a program,
  /// which can do that.
  func isRenewed(for unit: String) -> Bool {
    hooks.contains { hook in
      if case .run = hook { true } else { hook.order?.unit == unit }
    }
  }
}

extension AccessRule {
  fileprivate func matches(_ peer: Peer) -> Bool {
    switch self {
    case .user(let user): peer.user == user
    case .group(let group): peer.groups.contains(group)
    case .unit(let unit): peer.unit == unit
    }
  }
}
