import Rotation

/// All that the configuration files say, checked: what `run` runs on.
struct Settings {
  /// At least one.
  let keys: [Key]
  let defaults: Lifetimes
  let identities: [Identity]
  /// Where the access rules and the hooks of each identity stand, in their order.
  let accessLocations: [String: [SourceLocation]]
  let hookLocations: [String: [SourceLocation]]
  /// Nil when no query socket is configured.
  let socket: SocketSettings?
  /// The files that were read.
  let files: [String]
  /// What tells whether they changed since.
  var version: ConfigurationVersion?
  /// Where each delivery stands, for diagnostics about the host: in the order of `identities`.
  let deliveryLocations: [(delivery: Delivery, location: SourceLocation)]
}

extension Settings {
  /// A key, and where each of its secrets stands, in the order of `KeySettings.secrets`.
  struct Key {
    let settings: KeySettings
    let locations: [SourceLocation]
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

/// What `socket:` says.
struct SocketSettings {
  let path: Path
  let group: UInt32?
  let mode: UInt16
  /// The credential socket for LoadCredential= (systemd.exec(5)), nil for none.
  let credentials: Path?
  /// The least life of a token that is handed out there, as far as its identity allows that; nil
  /// for half of the identity's lifetime.
  let leastLife: Duration?
  /// Where `path`, `group` and `credentials` stand.
  let location: SourceLocation
  let groupLocation: SourceLocation?
  let credentialsLocation: SourceLocation?
  /// Who may rotate, reload and read every token, beside root and jotd's own user.
  let operators: [AccessRule]
  /// Where each of these stands, in their order.
  let operatorLocations: [SourceLocation]
}

extension SocketSettings {
  /// A socket, by the name that systemd may hand it over under.
  struct Named: Sendable {
    let name: String
    let path: Path
    let location: SourceLocation
    /// Those of the query socket; the credential socket is for root alone.
    let group: UInt32?
    let mode: UInt16

    /// Whether systemd makes it: then its folder is of no concern.
    var isHandedOver: Bool { SocketActivation.has(name, path) }
  }

  /// The sockets that are to be made.
  var locations: [Named] {
    [Named(name: "query", path: path, location: location, group: group, mode: mode)]
      + [credentials].compactMap(\.self).map {
        Named(
          name: "credentials", path: $0, location: credentialsLocation ?? location, group: nil,
          mode: 0o600)
      }
  }
}
