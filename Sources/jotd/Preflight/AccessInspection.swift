import Rotation

/// Finds those whom the configuration allows something on the query socket, and who cannot connect
/// to it.
struct AccessInspection {
  private let socket: SocketSettings
  private let way: SocketWay
  private let diagnostics: Diagnostics
  private var known: [AccessRule: String?] = [:]

  /// `way` is that to the query socket; nil when it could not be looked at.
  static func inspect(_ settings: Settings, _ way: SocketWay?, _ diagnostics: Diagnostics) {
    guard let socket = settings.socket else {
      let locations = settings.accessLocations.values.joined()
      if let first = locations.min() {
        diagnostics.warn(
          first, "allow is without effect, because there is no section socket: nobody can ask")
      }
      return
    }
    guard let way else { return }
    var inspection = AccessInspection(socket: socket, way: way, diagnostics: diagnostics)
    inspection.inspect(socket.operators, socket.operatorLocations)
    let identities = settings.identities.filter { !$0.access.isEmpty }
    for identity in identities.sorted(by: { $0.name < $1.name }) {
      inspection.inspect(identity.access, settings.accessLocations[identity.name] ?? [])
    }
  }

  private init(socket: SocketSettings, way: SocketWay, diagnostics: Diagnostics) {
    self.socket = socket
    self.way = way
    self.diagnostics = diagnostics
  }

  private mutating func inspect(_ rules: [AccessRule], _ locations: [SourceLocation]) {
    for (rule, location) in zip(rules, locations) where !diagnostics.isFull {
      let fault = known[rule] ?? fault(rule)
      known[rule] = .some(fault)
      if let fault { diagnostics.error(location, fault) }
    }
  }

  private func fault(_ rule: AccessRule) -> String? {
    switch rule {
    case .unit: return nil
    case .user(let user): return fault(ofUser: user)
    case .group(let group):
      // Whoever it is, that group may be enough; if not, others of somebody's may be.
      guard way.obstacle(to: .max, [group]) != nil else { return nil }
      let faults = Accounts.members(of: group).map(fault(ofUser:))
      return faults.contains(nil) ? nil : faults.first.flatMap(\.self)
    }
  }

  private func fault(ofUser user: UInt32) -> String? {
    // A process may have groups that no account says; of a user without one, nothing is known.
    guard let (name, groups) = Accounts.account(of: user),
      let obstacle = way.obstacle(to: user, groups)
    else { return nil }
    let who =
      "\(Accounts.describe(user: user)) is allowed here, and cannot connect to \(socket.path): "
    let group = Accounts.name(group: way.group) ?? "\(way.group)"
    switch obstacle {
    case .folder(let path):
      return who + "it may not pass through \(path): chmod o+x \(path), or use another folder"
    case .mode:
      return who + "the mode of the socket (\(String(way.mode, radix: 8))) does not let it: leave "
        + "socket.mode out, and name a group of its in socket.group"
    case .group:
      if isGranted(group, to: name, user) { return nil }
      // Who is in root's group may read what is root's.
      if way.group == 0 {
        return who + "the socket has no group but root's: name a group of its in socket.group, or "
          + "in SocketGroup= where systemd makes the socket"
      }
      return who + "it is not in the socket's group, \(group): usermod -aG \(group) \(name), or "
        + "SupplementaryGroups=\(group) in its unit, or name a group of its in socket.group"
    }
  }

  /// Whether a unit gives the group to processes of the user (systemd.exec(5)).
  private func isGranted(_ group: String, to name: String, _ user: UInt32) -> Bool {
    guard SystemdQuery.isThere,
      let units = SystemdQuery.properties(
        ["User", "Group", "SupplementaryGroups"], of: ["*.service"])
    else { return false }
    let (users, groups) = ([name, "\(user)"], [group, "\(way.group)"])
    return units.contains { unit in
      users.contains(unit["User"] ?? "")
        && [unit["Group"], unit["SupplementaryGroups"]].contains {
          ($0 ?? "").split(separator: " ").contains { groups.contains(String($0)) }
        }
    }
  }
}
