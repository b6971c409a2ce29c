import Rotation

/// What the configuration says of one key.
struct KeySettings {
  let label: KeyLabel
  /// Where it stands in the document: `signing`, or `keys.NAME`.
  let path: String
  /// What new tokens are signed with, by the algorithm of `label`; nil where jotd makes its keys
  /// itself, as `generated` says.
  var secret: SecretSettings?
  /// What they were signed with before, and may still be.
  var previous: SecretSettings?
  let allowWeak: Bool
  var publication: Publication?
  var generated: GeneratedKey?

  var secrets: [SecretSettings] { [secret, previous].compactMap(\.self) }
}

/// A secret or a private key, as the algorithm takes, and how it is had.
struct SecretSettings: CustomStringConvertible {
  let source: SecretSource
  /// How a secret is written; a private key says itself how it is.
  var encoding = SecretEncoding.utf8
  /// What opens a private key that is encrypted.
  var passphrase: SecretSource?
  let algorithm: Algorithm
  /// Where it stands in the document: `signing.secret`, `keys.NAME.previous`.
  let path: String
  /// Whether nothing is signed with it any more.
  var isFormer = false

  var isInDevice: Bool { if case .uri = source { true } else { false } }

  /// What it is.
  var noun: String { algorithm.takesSecret ? "secret" : "private key" }

  var description: String { source.named(noun) }
}

/// Where the secret comes from.
enum SecretSource: Hashable {
  /// An environment variable.
  case env(String)
  /// A file that only its owner and its group may read.
  case file(Path)
  /// A systemd credential by its id (systemd.exec(5), `LoadCredential=`).
  case credential(String)
  /// A private key that stays outside of jotd.
  case uri(KeyURI)

  /// Where the `noun` is, for people.
  func named(_ noun: String) -> String {
    switch self {
    // Each could be the secret itself, put here by mistake.
    case .env(let name):
      Quoting.isVariable(name)
        ? "the environment variable \(name)"
        : "the environment variable that is named for the \(noun)"
    case .file(let path):
      Quoting.isPath(path.description) || Quoting.isWord(path.description)
        ? "the \(noun) file \(path)" : "the \(noun) file that is named"
    case .credential(let id):
      Quoting.isWord(id) ? "the credential \(id)" : "the credential that is named"
    case .uri(let uri): "the \(noun) at \(uri.shown)"
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
