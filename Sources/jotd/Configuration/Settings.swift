import Rotation

/// All that the configuration files say, checked: what `run` runs on.
struct Settings {
  /// At least one.
  let keys: [Key]
  let defaults: Lifetimes
  let identities: [Identity]
  /// Where the access rules of each identity stand, and the hooks of each subject, in their order.
  let accessLocations: [String: [SourceLocation]]
  let hookLocations: [Subject.Name: [SourceLocation]]
  /// Nil when no query socket is configured.
  let socket: SocketSettings?
  /// The files that were read.
  let files: [String]
  /// What tells whether they changed since.
  var version: ConfigurationVersion?
  /// Where each delivery stands, for diagnostics about the host: in the order of `identities`.
  let deliveryLocations: [(delivery: Delivery, location: SourceLocation)]
  /// Where the `max_bytes` of a delivery stands, for those that have one.
  let budgetLocations: [Path: SourceLocation]
}

extension Settings {
  /// A key, and where each of its secrets stands, in the order of `KeySettings.secrets`.
  struct Key {
    var settings: KeySettings
    let locations: [SourceLocation]
    /// Where the places and the hooks of its publication stand, in their order.
    var placeLocations: [SourceLocation] = []
    var hookLocations: [SourceLocation] = []
  }

  /// The longest life of a token of the key of this name, as far as the configuration says.
  func longestLife(ofKey name: String) -> Duration {
    identities.lazy.filter { $0.key == name }.map(\.lifetime).max() ?? defaults.lifetime
  }

  /// What is done once there is another token, or another JWK Set, for those with such hooks.
  var hooks: [Subject.Name: [Hook]] {
    var hooks: [Subject.Name: [Hook]] = [:]
    for identity in identities where !identity.hooks.isEmpty {
      hooks[.identity(identity.name)] = identity.hooks
    }
    for publication in keys.lazy.compactMap(\.settings.publication) where !publication.hooks.isEmpty
    {
      hooks[.publication(key: publication.key)] = publication.hooks
    }
    return hooks
  }

  /// How many deliveries are sockets, which take descriptors all the time.
  var listeningDeliveries: Int { deliveryLocations.count { !$0.delivery.isLasting } }
}

/// How long tokens live, where an identity does not say otherwise.
struct Lifetimes {
  var lifetime = Duration.seconds(24 * 3600)
  var refreshBefore = Threshold.span(.seconds(3600))

  /// The threshold of a token that lives as long as these say.
  var threshold: Duration { refreshBefore.span(of: lifetime) }
}
