import Rotation

/// Turns the YAML of one configuration into `Settings`, and keeps all that is wrong with it.
struct ConfigurationReader {
  private let diagnostics: Diagnostics
  private var keys: [Settings.Key] = []
  /// Those of all keys, also of such as are wrong, of which no more is known than the name.
  private var labels: [KeyLabel] = []
  /// What signs for identities that name no key; nil when they have to.
  private var standardKey: KeyLabel?
  private var defaults = Lifetimes()
  private var identities: [Identity] = []
  private var accessLocations: [String: [SourceLocation]] = [:]
  private var hookLocations: [Subject.Name: [SourceLocation]] = [:]
  private var socket: SocketSettings?
  private var files: [String] = []
  private var deliveryLocations: [(delivery: Delivery, location: SourceLocation)] = []
  private var budgetLocations: [Path: SourceLocation] = [:]
  private var firstNamed: [ByteString: SourceLocation] = [:]
  private var firstAt: [Path: SourceLocation] = [:]

  init(_ diagnostics: Diagnostics) { self.diagnostics = diagnostics }

  /// What could be read, once every file was; only without errors in the diagnostics is it all. Nil
  /// when not even a key could.
  var settings: Settings? {
    if keys.isEmpty { return nil }
    return Settings(
      keys: keys, defaults: defaults,
      identities: identities, accessLocations: accessLocations, hookLocations: hookLocations,
      socket: socket,
      files: files,
      deliveryLocations: deliveryLocations, budgetLocations: budgetLocations)
  }

  /// Reads the main file.
  mutating func readMain(_ root: YAMLNode?, file: String) {
    files.append(file)
    guard let root else {
      diagnostics.error(
        SourceLocation(file: file, line: 1, column: 1),
        "is empty: it must have \"signing\" and \"identities\"")
      return
    }
    guard
      let section = Section(
        root, "the configuration",
        keys: ["signing", "keys", "defaults", "socket", "identities"], diagnostics)
    else { return }
    readKeys(section)
    if let node = section["defaults"] { readDefaults(node) }
    if let node = section["socket"] { socket = readSocket(node) }
    if let node = section.required("identities", "a map of them, {} for none") {
      readIdentities(node)
    }
  }

  /// Reads a file of the `.d` folder: identities only.
  mutating func readAddition(_ root: YAMLNode?, file: String) {
    files.append(file)
    guard let root else { return }
    guard let section = Section(root, "an added file", keys: ["identities"], diagnostics) else {
      return
    }
    if let node = section["identities"] { readIdentities(node) }
  }

  // MARK: Sections

  private mutating func readKeys(_ section: Section) {
    let (signing, several) = (section["signing"], section["keys"])
    if let signing, let several {
      diagnostics.error(
        several.location,
        "\"keys\" and \"signing\" exclude each other: signing, in line \(signing.location.line), "
          + "is the short form for one key")
    }
    if let signing {
      addKey(Key.standardName, diagnostics.key(signing, Key.standardName, in: "signing"))
    }
    if let several { readKeys(several) }
    if signing == nil, several == nil {
      _ = section.required("signing", "where the secret comes from (or \"keys\", for several)")
    }
    standardKey =
      labels.first { $0.name == Key.standardName }
      ?? (labels.isEmpty ? KeyLabel() : labels.count == 1 ? labels[0] : nil)
  }

  private mutating func readKeys(_ node: YAMLNode) {
    guard let entries = diagnostics.redacting({ node.entries(of: "keys", diagnostics) }) else {
      return
    }
    if entries.isEmpty || entries.count > Limits.keys {
      diagnostics.error(
        node.location, "keys has \(entries.count) keys: 1 to \(Limits.keys) are allowed")
    }
    for entry in entries {
      let fault = Identity.fault(inName: entry.name, of: "a key")
      if let fault {
        diagnostics.error(entry.key.location, "the name of a key is not allowed: \(fault)")
      }
      let path = "keys.\(diagnostics.step(entry.name))"
      let key = diagnostics.key(entry.value, entry.name, in: path)
      if fault == nil { addKey(entry.name, key) }
    }
  }

  private mutating func addKey(_ name: String, _ key: Settings.Key?) {
    labels.append(key?.settings.label ?? KeyLabel(name: name))
    guard let key else { return }
    keys.append(key)
    hookLocations[.publication(key: name)] = key.hookLocations
    if let generated = key.settings.generated, let location = key.locations.first {
      _ = claim(generated.folder, at: location)
    }
    for (place, location) in zip(key.settings.publication?.deliveries ?? [], key.placeLocations)
    where claim(place.path, at: location) {
      deliveryLocations.append((place, location))
    }
  }

  private mutating func readDefaults(_ node: YAMLNode) {
    guard
      let section = Section(node, "defaults", keys: ["lifetime", "refresh_before"], diagnostics)
    else { return }
    readLifetimes(section, into: &defaults)
    // Checked here, whether or not an identity uses the defaults, and not again for an identity
    // that sets neither of the two.
    if let key = section["lifetime"], let fault = Identity.fault(inLifetime: defaults.lifetime) {
      diagnostics.error(key.location, "\(section.name).\(fault)")
    } else if let fault = Identity.fault(
      inRefreshBefore: defaults.threshold, lifetime: defaults.lifetime)
    {
      diagnostics.error(
        (section["refresh_before"] ?? section["lifetime"] ?? node).location,
        "\(section.name).\(fault)")
    }
  }

  /// Reads lifetime and threshold of a section over those that hold without it; false after an
  /// error.
  @discardableResult
  private func readLifetimes(_ section: Section, into lifetimes: inout Lifetimes) -> Bool {
    var isComplete = true
    if let node = section["lifetime"] {
      if let value = diagnostics.duration(node, section.path("lifetime")) {
        lifetimes.lifetime = value
      } else {
        isComplete = false
      }
    }
    if let node = section["refresh_before"] {
      if let value = diagnostics.threshold(node, section.path("refresh_before")) {
        lifetimes.refreshBefore = value
      } else {
        isComplete = false
      }
    }
    return isComplete
  }

  private mutating func readSocket(_ node: YAMLNode) -> SocketSettings? {
    guard
      let section = Section(
        node, "socket", keys: ["path", "group", "mode", "operators", "credentials"], diagnostics)
    else { return nil }
    let path = section.required("path", "where the query socket is").flatMap {
      diagnostics.socketPath($0, section.path("path"))
    }
    let group = section["group"].map { diagnostics.group($0, section.path("group")) }
    let mode = section["mode"].map { diagnostics.mode($0, section.path("mode")) }
    if let node = section["mode"], let mode = mode.flatMap(\.self), mode & 0o002 != 0 {
      diagnostics.warn(
        node.location,
        "socket.mode: everybody on this host may connect, for health, metrics and introspection; "
          + "tokens are for whom allow names: name the clients' group and leave mode out")
    }
    let operators = section["operators"].map {
      diagnostics.accessRules($0, section.path("operators"))
    }
    let credentials = section["credentials"].map { diagnostics.credentials($0, section) }
    guard let path else { return nil }
    for (path, location) in [
      (path, section["path"]?.location), (credentials?.path, credentials?.location),
    ] {
      if let path, let location { _ = claim(path, at: location) }
    }
    return SocketSettings(
      path: path, group: group.flatMap(\.self), mode: mode.flatMap(\.self) ?? 0o660,
      credentials: credentials?.path, leastLife: credentials?.leastLife,
      location: section["path"]?.location ?? section.location,
      groupLocation: section["group"]?.location,
      credentialsLocation: credentials?.location, operators: operators ?? [],
      operatorLocations: section["operators"]?.items.map(\.location) ?? [])
  }

  // MARK: Identities

  private mutating func readIdentities(_ node: YAMLNode) {
    _ = node.forEachEntry(of: "identities", diagnostics) { entry in
      let (name, location) = (entry.name, entry.key.location)
      if let first = firstNamed.updateValue(location, forKey: ByteString(name)) {
        firstNamed[ByteString(name)] = first
        guard first.file != location.file else {
          diagnostics.error(
            location,
            "\(diagnostics.named(key: name)) occurs twice in identities: first in line "
              + "\(first.line)")
          return
        }
        diagnostics.error(
          location, "the identity \(diagnostics.shown(name)) is already in \(first)")
      }
      if !readIdentity(entry.value, name), let fault = Identity.fault(inName: name) {
        diagnostics.error(location, "the name \(diagnostics.shown(name)) is not allowed: \(fault)")
      }
    }
  }

  private static let identityKeys = [
    "user_id", "role", "key", "lifetime", "refresh_before", "claims", "type", "token_id",
    "deliver", "allow", "on_rotate",
  ]
  private static let roles = Role.allCases.map(\.rawValue)

  /// False, and errors about all but the name, when it is wrong.
  private mutating func readIdentity(_ node: YAMLNode, _ name: String) -> Bool {
    let diagnostics = diagnostics
    guard
      let section = Section(
        node, "identities.\(diagnostics.step(name))", keys: ConfigurationReader.identityKeys,
        diagnostics)
    else { return false }
    var lifetimes = defaults
    let hasLifetimes = readLifetimes(section, into: &lifetimes)
    let claims = section["claims"].map { diagnostics.claims($0, section.path("claims")) } ?? []
    let (bearer, userID) = readBearer(section, claims)
    let type = section["type"].map { diagnostics.string($0, section.path("type")) }
    let hasTokenID = section["token_id"].map { diagnostics.bool($0, section.path("token_id")) }
    let key = readKeyName(section)
    let deliveries = readDeliveries(section, of: name)
    var (access, hooks): ([AccessRule], [Hook]) = ([], [])
    if let node = section["allow"] {
      access = diagnostics.accessRules(node, section.path("allow"))
      accessLocations[name] = node.items.map(\.location)
    }
    if let node = section["on_rotate"] {
      hooks = diagnostics.hooks(node, section.path("on_rotate"))
      hookLocations[.identity(name)] = node.items.map(\.location)
    }
    var failure: Failure?
    if let bearer, hasLifetimes, let claims, type != .some(nil), hasTokenID != .some(nil), let key {
      do throws(Failure) {
        let identity = try Identity(
          name: name, bearer: bearer, claims: claims, type: type.flatMap(\.self),
          hasTokenID: hasTokenID.flatMap(\.self) ?? false, lifetime: lifetimes.lifetime,
          refreshBefore: lifetimes.threshold, deliveries: deliveries, access: access,
          hooks: hooks, key: key)
        if let warning = identity.shortWindowWarning {
          diagnostics.warn(section.location, "\(section.name): \(warning)")
        }
        identities.append(identity)
        return true
      } catch { failure = error }
    }
    // Each of them is asked, because each reports.
    let isBearerWrong = reportBearer(bearer ?? userID.map { .user($0, .viewer) }, section)
    let areSpansWrong = hasLifetimes && reportLifetimes(lifetimes, section)
    let isTypeWrong = reportType(type.flatMap(\.self), section)
    let isElsewhere =
      isBearerWrong || areSpansWrong || isTypeWrong || Identity.fault(inName: name) != nil
    if let failure, !isElsewhere {
      diagnostics.error(section.location, "\(section.name): \(failure)")
    }
    return false
  }

  /// What an identity's tokens are signed with; nil after an error.
  private func readKeyName(_ section: Section) -> KeyLabel? {
    guard let node = section["key"] else {
      if let standardKey { return standardKey }
      diagnostics.error(
        section.location,
        "\(section.name) lacks the key \"key\": which signs its tokens: \(keyNames) (or call one "
          + "of them \(Key.standardName))")
      return nil
    }
    guard let name = diagnostics.string(node, section.path("key")) else { return nil }
    if let key = labels.first(where: { $0.name == name }) { return key }
    if labels.isEmpty { return KeyLabel() }
    diagnostics.error(
      node.location,
      "\(section.path("key")): there is no key \(diagnostics.shown(name)); there are: \(keyNames)")
    return nil
  }

  private var keyNames: String {
    labels.map { diagnostics.step($0.name) }.joined(separator: ", ")
  }

  /// Whom an identity's tokens speak for: nil after an error. A user of the camera service where
  /// `user_id` or `role` is given, and then also the user id alone, as far as it could be read.
  private func readBearer(
    _ section: Section, _ claims: [JSON.Member]?
  ) -> (Bearer?, userID: ByteString?) {
    if section["user_id"] == nil, section["role"] == nil {
      // Among claims that are wrong, the subject may be.
      guard let claims else { return (nil, nil) }
      if let subject = Bearer(subjectIn: claims) { return (subject, nil) }
    }
    let userID = section.required(
      "user_id", "whom the token speaks for (or neither it nor role, and claims: { sub: ... })"
    ).flatMap { diagnostics.string($0, section.path("user_id")) }.map(ByteString.init)
    let role = section.required("role", "viewer, operator or admin").flatMap {
      diagnostics.choice($0, section.path("role"), of: ConfigurationReader.roles)
    }.flatMap(Role.init(rawValue:))
    guard let userID, let role else { return (nil, userID) }
    return (.user(userID, role), userID)
  }

  /// Whether a user id or a subject is wrong: then that is reported where it stands.
  private func reportBearer(_ bearer: Bearer?, _ section: Section) -> Bool {
    guard let bearer, let fault = Identity.fault(in: bearer) else { return false }
    let key = bearer.role == nil ? "claims" : "user_id"
    diagnostics.error(
      section[key]?.location ?? section.location, "\(section.path(key)): \(fault)")
    return true
  }

  /// Whether a `type` is wrong: then that is reported where it stands.
  private func reportType(_ type: String?, _ section: Section) -> Bool {
    guard let type, let fault = Identity.fault(inType: type) else { return false }
    diagnostics.error(section["type"]?.location ?? section.location, "\(section.name).\(fault)")
    return true
  }

  /// Whether the spans of an identity are wrong: then that is reported where they stand. Those of
  /// the defaults were checked there.
  private func reportLifetimes(_ lifetimes: Lifetimes, _ section: Section) -> Bool {
    let (lifetime, refreshBefore) = (section["lifetime"], section["refresh_before"])
    if let fault = Identity.fault(inLifetime: lifetimes.lifetime) {
      if let lifetime { diagnostics.error(lifetime.location, "\(section.name).\(fault)") }
      return true
    }
    guard
      let fault = Identity.fault(
        inRefreshBefore: lifetimes.threshold, lifetime: lifetimes.lifetime)
    else { return false }
    if let node = refreshBefore ?? lifetime {
      diagnostics.error(node.location, "\(section.name).\(fault)")
    }
    return true
  }

  // MARK: Deliveries

  private mutating func readDeliveries(_ section: Section, of identity: String) -> [Delivery] {
    guard let node = section["deliver"],
      let nodes = diagnostics.list(
        node, section.path("deliver"), upTo: Limits.deliveries, "deliveries")
    else { return [] }
    return nodes.enumerated().compactMap { index, node in
      readDelivery(node, "\(section.path("deliver"))[\(index)]", of: identity)
    }
  }

  private mutating func readDelivery(
    _ node: YAMLNode, _ name: @autoclosure @escaping () -> String, of identity: String
  ) -> Delivery? {
    guard let (delivery, location) = diagnostics.delivery(node, name(), of: identity),
      claim(delivery.path, at: location)
    else { return nil }
    deliveryLocations.append((delivery, location))
    if let budget = node["max_bytes"] { budgetLocations[delivery.path] = budget.location }
    return delivery
  }

  /// Notes that something is made at `path`; false, and an error, when something else is.
  private mutating func claim(_ path: Path, at location: SourceLocation) -> Bool {
    guard let first = firstAt.updateValue(location, forKey: path) else { return true }
    firstAt[path] = first
    diagnostics.error(location, "\(path) is already delivered to in \(first)")
    return false
  }
}
