import Rotation

/// Reads one entry of a `deliver` list, or of a `jwks` list.
extension Diagnostics {
  private static let socketKeys = ["socket", "owner", "group", "mode"]
  private static let publishedKeys = ["file", "owner", "group", "mode", "in_place"]
  private static let fileKeys = [
    "file", "socket", "format", "variable", "template", "max_bytes", "owner", "group", "mode",
    "in_place",
  ]

  /// The delivery of an identity, and where its path stands; nil, and errors, when it is wrong.
  func delivery(
    _ node: YAMLNode, _ name: @autoclosure @escaping () -> String, of identity: String
  ) -> (Delivery, SourceLocation)? {
    let isSocket = node["socket"] != nil
    let keys = isSocket ? Diagnostics.socketKeys : Diagnostics.fileKeys
    guard let section = Section(node, name(), keys: keys, self) else { return nil }
    let owner = section["owner"].map { user($0, section.path("owner")) }
    let group = section["group"].map { self.group($0, section.path("group")) }
    let mode = section["mode"].map { self.mode($0, section.path("mode")) }
    let delivery =
      isSocket
      ? readSocketDelivery(
        section, owner.flatMap(\.self), group.flatMap(\.self), mode.flatMap(\.self))
      : readFileDelivery(
        section, identity, owner.flatMap(\.self), group.flatMap(\.self), mode.flatMap(\.self))
    guard let delivery else { return nil }
    if let node = section["mode"], let mode = mode.flatMap(\.self) {
      warnOfEverybody(mode, isSocket: isSocket, node.location, section.path("mode"))
    }
    return (delivery, (section["file"] ?? section["socket"])?.location ?? section.location)
  }

  /// A file for a JWK Set, which anybody may read, and where its path stands; nil, and errors, when
  /// it is wrong.
  func publishedFile(
    _ node: YAMLNode, _ name: @autoclosure @escaping () -> String
  ) -> (file: FileDelivery, location: SourceLocation)? {
    guard let section = Section(node, name(), keys: Diagnostics.publishedKeys, self) else {
      return nil
    }
    let owner = section["owner"].map { user($0, section.path("owner")) }
    let group = section["group"].map { self.group($0, section.path("group")) }
    let mode = section["mode"].map { self.mode($0, section.path("mode")) }
    if let node = section["mode"], let mode = mode.flatMap(\.self), mode & 0o022 != 0 {
      warn(
        node.location,
        "\(section.path("mode")): whoever may write the file chooses which tokens are believed: to "
          + "read it, 0644 is enough")
    }
    guard
      let file = readFile(
        section, .jwks, owner.flatMap(\.self), group.flatMap(\.self),
        mode.flatMap(\.self) ?? 0o644)
    else { return nil }
    return (file, section["file"]?.location ?? section.location)
  }

  /// To connect to a socket takes the permission to write (unix(7)).
  private func warnOfEverybody(
    _ mode: UInt16, isSocket: Bool, _ location: SourceLocation, _ name: String
  ) {
    if !isSocket, mode & 0o026 == 0o020 {
      return warn(
        location,
        "\(name): whoever is in the group may overwrite the token: to read it, 0640 is enough")
    }
    guard mode & (isSocket ? 0o002 : 0o006) != 0 else { return }
    let operation =
      isSocket
      ? "have the token by connecting"
      : mode & 0o004 != 0 ? "read the token" : "overwrite the token"
    warn(
      location,
      "\(name): everybody on this host may \(operation): name the client's group and leave "
        + "mode out, or its user")
  }

  private func readFileDelivery(
    _ section: Section, _ identity: String, _ owner: UInt32?, _ group: UInt32?, _ mode: UInt16?
  ) -> Delivery? {
    readFile(
      section, readFormat(section, identity), owner, group,
      mode ?? (section["group"] == nil ? 0o600 : 0o640)
    ).map(Delivery.file)
  }

  /// Nil, and errors, without a path; nil without a format.
  private func readFile(
    _ section: Section, _ format: Format?, _ owner: UInt32?, _ group: UInt32?, _ mode: UInt16
  ) -> FileDelivery? {
    let what =
      format == .jwks ? "the path of the file" : "the path of the file to keep fresh, or a socket"
    let path = section.required("file", what).flatMap { self.path($0, section.path("file")) }
    let inPlace = section["in_place"].map { bool($0, section.path("in_place")) }
    let maxBytes = section["max_bytes"].map {
      count($0, section.path("max_bytes"), in: 1...Limits.mostMaxBytes)
    }
    guard let path, let format, maxBytes != .some(nil) else { return nil }
    return FileDelivery(
      path: path, format: format, owner: owner, group: group, mode: mode,
      inPlace: inPlace.flatMap(\.self) ?? false, maxBytes: maxBytes.flatMap(\.self))
  }

  private func readSocketDelivery(
    _ section: Section, _ owner: UInt32?, _ group: UInt32?, _ mode: UInt16?
  ) -> Delivery? {
    guard let node = section["socket"], let path = socketPath(node, section.path("socket"))
    else { return nil }
    return .socket(
      SocketDelivery(
        path: path, owner: owner, group: group,
        mode: mode ?? (section["group"] == nil ? 0o600 : 0o660)))
  }

  private func readFormat(_ section: Section, _ identity: String) -> Format? {
    let name =
      section["format"].map { choice($0, section.path("format"), of: Format.names) }
      ?? "token"
    var fits = true
    for (key, format) in [("variable", "env"), ("template", "text")] {
      guard let name, name != format, let node = section[key] else { continue }
      error(node.location, "\(section.path(key)) is only for format: \(format)")
      fits = false
    }
    guard fits else { return nil }
    switch name {
    case "token": return .token
    case "json": return .json
    case "header": return .header
    case "env":
      guard let node = section.required("variable", "the name before the = for format: env"),
        let variable = word(node, section.path("variable"))
      else { return nil }
      guard Diagnostics.isVariable(variable) else {
        error(node.location, "\(section.path("variable")) \(Diagnostics.variableRule)")
        return nil
      }
      return .env(variable: variable)
    case "text":
      guard
        let node = section.required("template", "the text, with {token} in it, for format: text"),
        let text = string(node, section.path("template"))
      else { return nil }
      do throws(Failure) { return .text(try TextTemplate(text, identity: identity)) } catch {
        self.error(node.location, "\(section.path("template")) \(error)")
        return nil
      }
    default: return nil
    }
  }

  // MARK: Variables

  static func isVariable(_ name: String) -> Bool {
    guard let first = name.utf8.first, !(0x30...0x39).contains(first) else { return false }
    return name.utf8.allSatisfy {
      (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0)
        || $0 == 0x5f
    }
  }

  static let variableRule =
    "must be the name of a variable: letters, digits and _, not beginning with a digit"
}
