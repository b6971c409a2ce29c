import Rotation

/// All that the configuration files say, checked: what `run` runs on.
struct Settings {
  let signing: SigningSettings
  let defaults: Lifetimes
  let identities: [Identity]
  /// Who may fetch the token of which identity; none but operators where there is no entry.
  let access: [String: [AccessRule]]
  /// What is to be done after a rotation of which identity.
  let hooks: [String: [Hook]]
  /// Nil when no query socket is configured.
  let socket: SocketSettings?
  /// The files that were read.
  let files: [String]
  /// Where each delivery stands, for findings about the host: in the order of `identities`.
  let deliveryPlaces: [(delivery: Delivery, place: Place)]
}

/// How long tokens live, where an identity does not say otherwise.
struct Lifetimes {
  var lifetime = Duration.seconds(24 * 3600)
  var refreshBefore = Duration.seconds(3600)
}

/// What `signing:` says.
struct SigningSettings {
  let algorithm: Algorithm
  let source: SecretSource
  let encoding: SecretEncoding
  let allowWeak: Bool
  /// Where `secret:` stands.
  let place: Place
}

/// Where the secret comes from.
enum SecretSource: Hashable, CustomStringConvertible {
  /// An environment variable.
  case env(String)
  /// A file that only its owner and its group may read.
  case file(Path)
  /// A systemd credential by its id (systemd.exec(5), `LoadCredential=`).
  case credential(String)

  var description: String {
    switch self {
    // By convention in capitals; anything else could be the secret itself, put here by mistake.
    case .env(let name):
      name.utf8.allSatisfy {
        (0x41...0x5a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5f
      }
        && name.utf8.count <= 64
        ? "the environment variable \(name)"
        : "the environment variable that is named for the secret"
    case .file(let path): "the secret file \(path)"
    case .credential(let id): "the credential \(id)"
    }
  }
}

/// How the secret's bytes are written.
enum SecretEncoding: String, CaseIterable {
  /// The bytes as they are.
  case utf8
  /// RFC 4648 sections 4 and 5, with padding or without.
  case base64
  case hex
}

/// What `socket:` says.
struct SocketSettings: Equatable {
  let path: Path
  let group: UInt32?
  let mode: UInt16
  /// The credential socket for LoadCredential= (systemd.exec(5)), nil for none.
  let credentials: Path?
  /// Who may rotate, reload and read every token, beside root and jotd's own user.
  let operators: [AccessRule]
}

/// One thing to do after a rotation, so that a client reads its new token.
enum Hook: Hashable {
  /// Reload a systemd unit.
  case reload(unit: String)
  /// Signal the process whose number is in a file; `name` is the signal's without SIG.
  case signal(pidFile: Path, number: Int32, name: String)
  /// Run a program, by its path and arguments: in bytes, so that two commands are one hook only
  /// if they are the same to the program, too.
  case run([[UInt8]])
}

/// One kind of caller that is allowed something.
enum AccessRule: Hashable {
  case user(UInt32)
  /// As the primary group or a supplementary one.
  case group(UInt32)
  /// The systemd unit that the caller's process belongs to.
  case unit(String)
}
