import Rotation

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
