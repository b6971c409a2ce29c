import Rotation

/// Reads what the configuration says of keys. Nothing below is repeated, because any of it may be
/// the secret, put there by mistake; but for where a key is published.
extension Diagnostics {
  private static let secretKeys = ["secret", "previous", "allow_weak_secret"]
  private static let privateKeyKeys = ["private_key", "generate", "jwks", "on_publish"]
  private static let keyKeys = ["algorithm", "kid"] + privateKeyKeys + secretKeys
  private static let sources = ["env", "file", "credential"]
  private static let encodings = SecretEncoding.allCases.map(\.rawValue)

  /// What `signing` says, or an entry of `keys`; nil, and errors, when it is wrong.
  func key(
    _ node: YAMLNode, _ name: String, in path: @autoclosure @escaping () -> String
  ) -> Settings.Key? {
    guard
      let section = redacting({ Section(node, path(), keys: Diagnostics.keyKeys, self) })
    else { return nil }
    var key = redacting { readKey(section, name) }
    let places = readPublishedFiles(section)
    let hooks = section["on_publish"].map { self.hooks($0, section.path("on_publish")) } ?? []
    key?.hookLocations = section["on_publish"]?.items.map(\.location) ?? []
    guard !places.isEmpty || !hooks.isEmpty else { return key }
    key?.placeLocations = places.map(\.location)
    key?.settings.publication = Publication(key: name, files: places.map(\.file), hooks: hooks)
    return key
  }

  private func readPublishedFiles(
    _ section: Section
  ) -> [(file: FileDelivery, location: SourceLocation)] {
    guard let node = section["jwks"],
      let nodes = list(node, section.path("jwks"), upTo: Limits.deliveries, "files")
    else { return [] }
    return nodes.enumerated().compactMap { index, node in
      publishedFile(node, "\(section.path("jwks"))[\(index)]")
    }
  }

  private func readKey(_ section: Section, _ name: String) -> Settings.Key? {
    let (chosen, fits) = readAlgorithm(ofKey: section)
    let kid = section["kid"].map { readKid($0, section.path("kid")) }
    let allowWeak = section["allow_weak_secret"].map {
      bool($0, section.path("allow_weak_secret"))
    }
    let previous = section["previous"].map {
      readSecret($0, section.path("previous"), of: chosen, isFormer: true)
    }
    if !chosen.takesSecret, fits, let node = section["generate"] {
      return readRing(node, section, name, chosen)
    }
    let wanted = chosen.takesSecret ? "secret" : "private_key"
    let kinds = chosen.takesSecret ? "" : ", uri (or generate, to have jotd make it)"
    guard
      let node = fits
        ? section.required(wanted, "one of env, file, credential\(kinds)") : section[wanted],
      let secret = chosen.takesSecret
        ? readSecret(node, section.path(wanted), of: chosen)
        : readPrivateKey(node, section.path(wanted), of: chosen),
      fits
    else { return nil }
    let label = KeyLabel(
      name: name, algorithm: chosen, kid: kid.flatMap(\.self))
    let settings = KeySettings(
      label: label, path: section.name, secret: secret, previous: previous.flatMap(\.self),
      allowWeak: allowWeak.flatMap(\.self) ?? false)
    let locations = [node.location, section["previous"]?.location].compactMap(\.self)
    return Settings.Key(settings: settings, locations: locations)
  }

  /// A key whose private keys jotd makes itself, one after the other.
  private func readRing(
    _ node: YAMLNode, _ section: Section, _ name: String, _ algorithm: Algorithm
  ) -> Settings.Key? {
    for key in ["private_key", "kid"] {
      guard let other = section[key] else { continue }
      error(
        other.location,
        "\(section.path(key)) does not go with generate: "
          + (key == "kid" ? "each key has its thumbprint as its kid" : "say one of the two"))
    }
    guard
      let map = Section(
        node, section.path("generate"), keys: ["folder", "rotate_every", "publish_ahead"], self)
    else { return nil }
    let folder = map.required("folder", "where the private keys are to be").flatMap {
      path($0, map.path("folder"))
    }
    let every = map["rotate_every"].map { duration($0, map.path("rotate_every")) }
    let ahead = map["publish_ahead"].map { duration($0, map.path("publish_ahead")) }
    guard let folder, every != .some(nil), ahead != .some(nil), section["private_key"] == nil,
      section["kid"] == nil
    else { return nil }
    let generated = GeneratedKey(
      folder: folder, rotateEvery: every.flatMap(\.self),
      publishAhead: ahead.flatMap(\.self) ?? Limits.publishAhead)
    if let fault = generated.fault {
      error((map["rotate_every"] ?? map["publish_ahead"] ?? node).location, "\(map.name): \(fault)")
      return nil
    }
    let settings = KeySettings(
      label: KeyLabel(name: name, algorithm: algorithm), path: section.name, allowWeak: false,
      generated: generated)
    return Settings.Key(settings: settings, locations: [map["folder"]?.location ?? node.location])
  }

  /// The algorithm of a key, and whether what stands beside it goes with it: there are errors if
  /// not. Where nobody can tell, an algorithm that goes.
  private func readAlgorithm(ofKey section: Section) -> (Algorithm, fits: Bool) {
    let (ofSecret, ofPrivateKey) = (
      Algorithm.allCases.filter(\.takesSecret), Algorithm.allCases.filter { !$0.takesSecret }
    )
    let hasPrivateKeyAlone =
      (section["private_key"] ?? section["generate"]) != nil && section["secret"] == nil
    let likely = hasPrivateKeyAlone ? ofPrivateKey[0] : .hs256
    if section["algorithm"] == nil, hasPrivateKeyAlone {
      error(
        section.location,
        "\(section.name) lacks the key \"algorithm\": a private key takes one of "
          + names(ofPrivateKey))
      return (likely, false)
    }
    guard let algorithm = section["algorithm"] == nil ? likely : readAlgorithm(section) else {
      return (likely, false)
    }
    let others = algorithm.takesSecret ? Diagnostics.privateKeyKeys : Diagnostics.secretKeys
    let unfit = others.filter { section[$0] != nil }
    for name in unfit {
      error(
        section[name]!.location,
        "\(section.path(name)) goes with the algorithms "
          + names(algorithm.takesSecret ? ofPrivateKey : ofSecret)
          + ", and this key's is \(algorithm.rawValue)"
          + (section["algorithm"] == nil ? ", as none is named" : ""))
    }
    return (algorithm, unfit.isEmpty)
  }

  private func names(_ algorithms: [Algorithm]) -> String {
    algorithms.map(\.rawValue).joined(separator: ", ")
  }

  private func readPrivateKey(
    _ node: YAMLNode, _ name: @autoclosure @escaping () -> String, of algorithm: Algorithm
  ) -> SecretSettings? {
    guard
      let (kind, value, section) = single(
        node, name(), of: Diagnostics.sources + ["uri"], beside: ["passphrase"])
    else { return nil }
    var passphrase: SecretSource?
    if let node = section["passphrase"] {
      guard
        let (kind, value, section) = single(
          node, section.path("passphrase"), of: Diagnostics.sources),
        let source = readSource(value, kind, section.path(kind))
      else { return nil }
      passphrase = source
    }
    guard let source = readSource(value, kind, section.path(kind)) else { return nil }
    return SecretSettings(
      source: source, passphrase: passphrase, algorithm: algorithm, path: section.name)
  }

  private func readKid(_ node: YAMLNode, _ name: String) -> String? {
    guard let kid = string(node, name) else { return nil }
    guard let fault = KeyLabel.fault(inKid: kid) else { return kid }
    error(node.location, "\(name): \(fault)")
    return nil
  }

  /// Nil without one, and after an error.
  private func readAlgorithm(
    _ section: Section, of algorithms: [Algorithm] = Algorithm.allCases
  ) -> Algorithm? {
    section["algorithm"].flatMap {
      choice($0, section.path("algorithm"), of: algorithms.map(\.rawValue))
    }.flatMap(Algorithm.init(rawValue:))
  }

  /// A secret of a key of this algorithm; `isFormer` says that it was before.
  private func readSecret(
    _ node: YAMLNode, _ name: @autoclosure @escaping () -> String, of algorithm: Algorithm,
    isFormer: Bool = false
  ) -> SecretSettings? {
    guard
      let (kind, value, section) = single(
        node, name(), of: Diagnostics.sources,
        beside: isFormer ? ["encoding", "algorithm"] : ["encoding"])
    else { return nil }
    let encoding = section["encoding"].map {
      choice($0, section.path("encoding"), of: Diagnostics.encodings)
    }
    guard let source = readSource(value, kind, section.path(kind)) else { return nil }
    return SecretSettings(
      source: source,
      encoding: encoding.flatMap(\.self).flatMap(SecretEncoding.init(rawValue:)) ?? .utf8,
      algorithm: readAlgorithm(section, of: Algorithm.allCases.filter(\.takesSecret)) ?? algorithm,
      path: section.name, isFormer: isFormer)
  }

  private func readSource(_ node: YAMLNode, _ kind: String, _ name: @autoclosure () -> String)
    -> SecretSource?
  {
    switch kind {
    case "file": return path(node, name()).map(SecretSource.file)
    case "env":
      guard let variable = word(node, name()) else { return nil }
      guard Diagnostics.isVariable(variable) else {
        error(node.location, "\(name()) \(Diagnostics.variableRule)")
        return nil
      }
      return .env(variable)
    case "uri":
      guard let text = string(node, name()) else { return nil }
      guard let uri = KeyURI(text) else {
        error(node.location, "\(name()) \(KeyURI.rule)")
        return nil
      }
      if uri.hasPIN {
        warn(
          node.location,
          "\(name()) has the PIN in it, which whoever can read this file knows: name what opens "
            + "the device with passphrase")
      }
      return .uri(uri)
    default:
      guard let id = word(node, name()) else { return nil }
      guard !id.utf8.contains(UInt8(ascii: "/")), id != ".", id != "..",
        id.utf8.count <= Limits.nameBytes
      else {
        error(
          node.location,
          "\(name()) must be the id of a credential (systemd.exec(5), LoadCredential=), "
            + "not a path")
        return nil
      }
      return .credential(id)
    }
  }
}
