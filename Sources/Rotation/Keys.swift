/// The keys of a host, by their names: a value that is replaced as a whole when one changes.
package struct Keys: Sendable {
  /// In the order of the configuration.
  package private(set) var all: [Key]

  /// No two of `keys` may have one name.
  package init(_ keys: [Key]) { all = keys }

  /// One key, of the standard name.
  package init(signing: any Signer) { all = [Key(name: Key.standardName, signing: signing)] }

  /// Whether the name of a key says something: there are several, or the only one has a name of its
  /// own.
  package var haveNames: Bool { all.count > 1 || all.first?.name != Key.standardName }

  /// The name of a key for people; nil where names say nothing.
  package func shown(_ name: String) -> String? { haveNames ? name : nil }

  /// The key of this name; nil when there is none.
  package subscript(name: String) -> Key? { index(of: name).map { all[$0] } }

  /// What signs with the key of this name; throws when that is not among these, or cannot be had.
  func signer(of name: String) throws(Failure) -> any Signer {
    guard let index = index(of: name) else {
      throw Failure("there is no key \(name) to sign with")
    }
    return try all[index].source.get()
  }

  /// Whether `token` was signed with what signs for `identity` now.
  func areCurrent(for token: Token, of identity: Identity) -> Bool {
    guard let index = index(of: identity.key) else { return false }
    guard case .success(let signer) = all[index].source else { return false }
    return token.origin == .key(signer.keyID)
  }

  /// What verifies the tokens that are about at `now`, of all keys or of the one of this name, as a
  /// JWK Set (RFC 7517 section 5): of each that has a public key, and of those that it replaced. No
  /// two have one `kid`, by which verifiers find them: what signs now goes before what signed.
  package func jwks(of name: String? = nil, at now: Instant) -> JSON {
    var published: [JSON] = []
    var names: Set<String?> = []
    let keys = all.filter { name == nil || $0.name == name }
    for signer in keys.compactMap(\.signing) + keys.flatMap({ $0.others(at: now) }) {
      guard let publicKey = signer.publicKey, names.insert(signer.kid).inserted else { continue }
      published.append(publicKey.jwk(signer.algorithm, kid: signer.kid))
    }
    return .object([JSON.Member("keys", .array(published))])
  }

  /// What speaks against `signer` as the key of this name; nil when nothing does. A verifier finds
  /// a public key by the token's `kid` (RFC 7517 section 4.5): two must not have the same, unless
  /// they are one, for one algorithm.
  package func fault(of signer: any Signer, as name: String) -> String? {
    guard signer.publicKey != nil else { return nil }
    let other = all.first { other in
      guard other.name != name, let signing = other.signing else { return false }
      return signing.publicKey != nil && signing.kid == signer.kid
        && signing.keyID != signer.keyID
    }
    return other.map { other in
      "the keys \(other.name) and \(name) are two, and have the same kid: verifiers could not tell "
        + "them apart. Say another with kid"
    }
  }

  /// So few that nothing finds one faster than looking at each.
  private func index(of name: String) -> Int? { all.indices.first { all[$0].name == name } }

  /// These, but that `key` is the one of its name.
  package func replacing(_ key: Key) -> Keys { Keys(all.map { $0.name == key.name ? key : $0 }) }

  /// These, but that `signer` signs with the key of this name; what it replaces is for `succeed`.
  package func replacing(_ name: String, with signer: any Signer) -> Keys {
    Keys(all.map { $0.name == name ? $0.signed(by: signer) : $0 })
  }

  /// These in place of `former`: what signed there, and does not any more, is believed until the
  /// last of its tokens has ended, which `lastExpiry` says. Gives those that have changed.
  mutating func succeed(
    _ former: Keys, lastExpiry: (_ signer: KeyID) -> Instant?
  ) -> [Key] {
    var changed: [Key] = []
    for index in all.indices {
      guard let old = former[all[index].name] else { continue }
      let (before, now) = (old.signing?.keyID, all[index].signing?.keyID)
      var replaced = old.replaced
      // A ring says itself what is believed.
      if all[index].others != nil {
        replaced = []
      } else if before != now, let signer = old.signing, let until = lastExpiry(signer.keyID) {
        replaced.insert(Key.Replaced(signer: signer, until: until), at: 0)
      }
      // Those whose time is over stay: the clock may be set back.
      replaced.removeAll { $0.signer.keyID == now }
      all[index].replaced = Array(replaced.prefix(Limits.replacedSigners))
      if before != now { changed.append(all[index]) }
    }
    return changed
  }
}
