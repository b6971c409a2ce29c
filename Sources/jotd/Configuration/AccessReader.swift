import CLinux
import Rotation

/// Readers of users, groups, units and the rules made of them.
extension Diagnostics {
  func user(_ node: YAMLNode, _ name: @autoclosure () -> String) -> UInt32? {
    account(node, name(), "user") { (word) throws(Failure) in try Accounts.user(word) }
  }

  func group(_ node: YAMLNode, _ name: @autoclosure () -> String) -> UInt32? {
    account(node, name(), "group") { (word) throws(Failure) in try Accounts.group(word) }
  }

  private func account(
    _ node: YAMLNode, _ name: @autoclosure () -> String, _ kind: String,
    _ lookUp: (String) throws(Failure) -> UInt32?
  ) -> UInt32? {
    // Behind so many errors, no account is worth its look-up.
    guard let word = word(node, name()), !isFull else { return nil }
    let shown = shown(word)
    do {
      if let found = try lookUp(word) { return found }
      error(node.location, "\(name()): there is no \(kind) \(shown) on this host")
    } catch {
      self.error(
        node.location, "\(name()): the \(kind) \(shown) cannot be looked up: \(error)",
        isTransient: error.isTransient)
    }
    return nil
  }

  /// The rules of an `allow` or `operators` list; those that are wrong leave an error.
  func accessRules(_ node: YAMLNode, _ name: @autoclosure () -> String) -> [AccessRule] {
    guard let nodes = list(node, name()) else { return [] }
    return nodes.enumerated().compactMap { index, node in
      accessRule(node, "\(name())[\(index)]")
    }
  }

  private func accessRule(_ node: YAMLNode, _ name: String) -> AccessRule? {
    guard let (kind, value, section) = single(node, name, of: ["user", "group", "unit"]) else {
      return nil
    }
    switch kind {
    case "user": return user(value, section.path("user")).map(AccessRule.user)
    case "group": return group(value, section.path("group")).map(AccessRule.group)
    default: return unit(value, section.path("unit")).map(AccessRule.unit)
    }
  }

  func unit(_ node: YAMLNode, _ name: @autoclosure () -> String) -> String? {
    guard let word = word(node, name()) else { return nil }
    guard let unit = UnitName.read(word.utf8), UnitName.hasProcesses(unit) else {
      error(
        node.location,
        "\(name()) must be the name of a unit with processes, such as camera-client.service, "
          + "not \(shownValue(word))")
      return nil
    }
    return unit
  }

  /// What `socket.credentials` says: a path, or a map of one and the least life of what is handed
  /// out there. `section` is `socket`.
  func credentials(
    _ node: YAMLNode, _ section: Section
  ) -> (path: Path?, leastLife: Duration?, location: SourceLocation) {
    let name = section.path("credentials")
    guard case .map = node.content else { return (socketPath(node, name), nil, node.location) }
    guard let section = Section(node, name, keys: ["path", "min_validity"], self) else {
      return (nil, nil, node.location)
    }
    let path = section.required("path", "where the credential socket is")
    let span = section["min_validity"].flatMap { duration($0, section.path("min_validity")) }
    return (
      path.flatMap { socketPath($0, section.path("path")) }, span, path?.location ?? node.location
    )
  }

  /// An absolute path that fits a socket's address (unix(7)).
  func socketPath(_ node: YAMLNode, _ name: @autoclosure () -> String) -> Path? {
    guard let path = path(node, name()) else { return nil }
    let limit = Int(linux_socket_path_bytes)
    guard path.description.utf8.count <= limit else {
      error(
        node.location,
        "\(name()) has \(path.description.utf8.count) bytes: the path of a socket has at most "
          + "\(limit) (unix(7))")
      return nil
    }
    return path
  }
}
