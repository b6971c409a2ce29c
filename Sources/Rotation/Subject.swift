/// What the rotator keeps fresh at its places: the token of an identity, or the JWK Set of a key.
/// The set takes the token's place in all that is said of one: it comes to its places in the same
/// way, and is replaced when it is not what the keys say any more.
package enum Subject: Sendable {
  case identity(Identity)
  case publication(Publication)

  /// What tells it from all others of its configuration.
  package enum Name: Hashable, Sendable, CustomStringConvertible {
    case identity(String)
    /// The JWK Set of the key of this name.
    case publication(key: String)

    /// Nil for a publication.
    package var identity: String? { if case .identity(let name) = self { name } else { nil } }
    /// Nil for an identity.
    package var key: String? { if case .publication(let key) = self { key } else { nil } }

    package var description: String {
      switch self {
      case .identity(let name): name
      case .publication(let key): "the key \(key)"
      }
    }
  }

  package var name: Name {
    switch self {
    case .identity(let identity): .identity(identity.name)
    case .publication(let publication): .publication(key: publication.key)
    }
  }

  /// Nil for a publication.
  var identity: Identity? { if case .identity(let identity) = self { identity } else { nil } }

  /// The name of the key that it depends on.
  var key: String {
    switch self {
    case .identity(let identity): identity.key
    case .publication(let publication): publication.key
    }
  }

  var deliveries: [Delivery] {
    switch self {
    case .identity(let identity): identity.deliveries
    case .publication(let publication): publication.deliveries
    }
  }

  /// Where the deliveries stand whose content outlives the daemon.
  var lastingPositions: Positions {
    let deliveries = deliveries
    return Positions(deliveries.indices.lazy.filter { deliveries[$0].isLasting })
  }

  /// Whether `other` has the same at the same places.
  func rotates(as other: Subject) -> Bool {
    switch (self, other) {
    case (.identity(let old), .identity(let new)): old.rotates(as: new)
    case (.publication(let old), .publication(let new)): old.publishes(as: new)
    default: false
    }
  }

  /// The bytes that the place holds when it holds `token`.
  func content(_ token: Token, at delivery: Delivery) -> [UInt8] {
    switch self {
    case .identity(let identity): delivery.content(token, of: identity)
    case .publication: token.compact
    }
  }

  // MARK: When it changes

  /// When `token` is to be replaced, if nothing happens before; nil for never.
  func due(_ token: Token) -> Instant? {
    switch self {
    case .identity(let identity): identity.due(token)
    case .publication: token.expiresAt < .never ? token.expiresAt : nil
    }
  }

  /// Whether `token` is what the keys say at `now`.
  func isCurrent(_ token: Token, _ keys: Keys, at now: Instant) -> Bool {
    switch self {
    case .identity(let identity): keys.areCurrent(for: token, of: identity)
    case .publication(let publication):
      // Also when it ends: what signed alone may have been replaced by what has no public key.
      (try? keys.set(of: publication, at: now).isSame(as: token)) == true
    }
  }

  /// From when on a token that ends at `expiry` is stale; nil for never.
  func staleness(ofTokenExpiring expiry: Instant) -> Instant? {
    identity?.staleness(ofTokenExpiring: expiry)
  }

  /// How a token is that ends at `expiry`. A set does not age: whoever has it can verify with it.
  func freshness(ofTokenExpiring expiry: Instant, at now: Instant) -> Freshness {
    identity?.freshness(ofTokenExpiring: expiry, at: now) ?? .fresh
  }
}

extension Token {
  fileprivate func isSame(as other: Token) -> Bool {
    compact == other.compact && expiresAt == other.expiresAt
  }
}

extension Keys {
  /// The publications of these keys, in their order.
  var publications: [Publication] { all.compactMap(\.publication) }

  /// The JWK Set to be published at `now`, which is right until one of its keys is believed no
  /// longer. Throws while the key cannot be had.
  func set(of publication: Publication, at now: Instant) throws(Failure) -> Token {
    // Without it, verifiers would refuse the tokens that it signed before.
    _ = try signer(of: publication.key)
    return Token(
      compact: Array("\(jwks(of: publication.key, at: now).text)\n".utf8),
      issuedAt: Instant(microseconds: 0),
      expiresAt: self[publication.key]?.nextEnd(after: now) ?? .never, origin: .keys)
  }
}
