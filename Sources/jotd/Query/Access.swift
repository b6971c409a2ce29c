import Rotation

/// Who may do what. Nothing is allowed that is not named.
struct Access: Sendable {
  private let operators: [AccessRule]
  private let readers: [String: [AccessRule]]
  private let leastLife: Duration?
  private let hooks: [String: [Hook]]

  init(_ settings: Settings) {
    let always: [AccessRule] = [.user(0), .user(Accounts.own)]
    operators = always + (settings.socket?.operators ?? [])
    readers = settings.access
    leastLife = settings.socket?.leastLife
    hooks = settings.hooks
  }

  /// Warns of units that are allowed something on the query socket, where this host cannot tell
  /// them.
  static func inspect(_ settings: Settings, _ findings: Findings) {
    let rules = settings.access.values.joined() + (settings.socket?.operators ?? [])
    let namesUnit = rules.contains { if case .unit = $0 { true } else { false } }
    guard let place = settings.socket?.place, namesUnit, !Peer.isUnitKnown else { return }
    findings.warn(
      place,
      "this kernel does not tell the process of a caller (SO_PEERPIDFD, Linux 6.5): on the query "
        + "socket nobody is allowed by `unit`, only by `user` and `group`; credentials for units "
        + "are not concerned")
  }

  /// Whether `peer` may rotate, reload and read every token.
  func isOperator(_ peer: Peer) -> Bool { operators.contains { $0.matches(peer) } }

  /// Whether the user is an operator, whatever its groups and its unit.
  func isOperator(user: UInt32) -> Bool { operators.contains(.user(user)) }

  /// Whether `peer` may fetch the token of the identity called `name`, and read about it.
  func mayRead(_ name: String, _ peer: Peer) -> Bool {
    isOperator(peer) || (readers[name] ?? []).contains { $0.matches(peer) }
  }

  /// Whether systemd may give the identity's token to this unit as a credential: only if the unit
  /// is named, because systemd asks as root for everybody.
  func mayLoad(_ name: String, unit: String) -> Bool {
    (readers[name] ?? []).contains(.unit(unit))
  }

  /// Whether the unit may come to have the identity's next token, too: a hook manages it, or runs a
  /// program, which can do that.
  func isRenewed(_ unit: String, _ name: String) -> Bool {
    (hooks[name] ?? []).contains { hook in
      if case .run = hook { true } else { hook.order?.unit == unit }
    }
  }

  /// How long a token of the identity has to live at the least to be handed out as a credential,
  /// which stays as it is until its unit starts again.
  func leastLife(_ identity: Identity) -> Duration {
    min(leastLife ?? identity.lifetime / 2, identity.lifetime * Limits.credentialLife)
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
