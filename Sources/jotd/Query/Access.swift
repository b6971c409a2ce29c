/// Who may do what. Nothing is allowed that is not named.
struct Access: Sendable {
  private let operators: [AccessRule]
  private let readers: [String: [AccessRule]]

  init(_ settings: Settings) {
    let always: [AccessRule] = [.user(0), .user(Accounts.own)]
    operators = always + (settings.socket?.operators ?? [])
    readers = settings.access
  }

  /// Whether `peer` may rotate, reload and read every token.
  func isOperator(_ peer: Peer) -> Bool { operators.contains { $0.matches(peer) } }

  /// Whether `peer` may fetch the token of the identity called `name`, and read about it.
  func mayRead(_ name: String, _ peer: Peer) -> Bool {
    isOperator(peer) || (readers[name] ?? []).contains { $0.matches(peer) }
  }

  /// Whether systemd may give the identity's token to this unit as a credential: only if the unit
  /// is named, because systemd asks as root for everybody.
  func mayLoad(_ name: String, unit: String) -> Bool {
    (readers[name] ?? []).contains(.unit(unit))
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
