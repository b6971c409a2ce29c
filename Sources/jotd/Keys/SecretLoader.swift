import Glibc
import Rotation
import Synchronization

/// Fetches the secrets of a key, and judges them.
struct SecretLoader {
  let key: KeySettings
  /// Whether the file may be a pipe, for which the reader waits: how a shell hands a secret to a
  /// command without a file. Not for the daemon, which waits for nobody.
  var allowsPipe = false

  /// What was taken from the environment: it is there once, because it is wiped when taken.
  private static let taken = Mutex<[String: Secret]>([:])

  /// A signer with the secret as it is now, and what should be said about it.
  func signer() throws(Failure) -> (signer: HMACSigner, warnings: [String]) {
    try signer(key.secret)
  }

  /// The same with one of the secrets.
  func signer(
    _ settings: SecretSettings
  ) throws(Failure) -> (signer: HMACSigner, warnings: [String]) {
    let raw = try raw(settings)
    let (source, algorithm) = (settings.source, settings.algorithm)
    let secret: Secret
    do { secret = try raw.decoded(settings.encoding) } catch {
      throw Failure("\(source): \(error)")
    }
    guard secret.count > 0 else { throw Failure("\(source): the secret is empty") }
    var warnings: [String] = []
    if let weakness = secret.weakness(for: algorithm) {
      // Of one that was replaced, nothing better can be asked.
      guard key.allowWeak || settings.isFormer else {
        throw Failure(
          "\(source): \(weakness). Make a new one with \"jotd secret\"; if the service's secret "
            + "cannot be changed yet, set \(key.path).allow_weak_secret: true "
            + "(--allow-weak-secret for a command)"
        )
      }
      warnings.append(
        "\(source): \(weakness). It is "
          + (settings.isFormer
            ? "believed all the same (previous)" : "used all the same (allow_weak_secret)"))
    }
    if settings.encoding == .utf8, secret.endsWithNewline {
      warnings.append(
        "\(source): the secret ends with a newline, which counts as a part of it (encoding: utf8). "
          + "If the service's has none, write it with printf in place of echo")
    }
    return (try HMACSigner(secret, algorithm, kid: key.label.kid), warnings)
  }

  /// What tells whether the source changed since: nil when it cannot be looked at.
  var fingerprint: FileStatus? {
    path.flatMap { try? FileSystem.status(of: $0) }
  }

  /// The file behind the secret; nil for a variable, and for a credential outside of a service.
  var path: String? { SecretLoader.path(of: key.secret.source) }

  /// The files behind the secrets.
  var paths: [String] {
    key.secrets.compactMap { SecretLoader.path(of: $0.source) }
  }

  private static func path(of source: SecretSource) -> String? {
    switch source {
    case .env: nil
    case .file(let path): path.description
    case .credential(let id): Environment["CREDENTIALS_DIRECTORY"].map { "\($0)/\(id)" }
    }
  }

  /// Whether the secret is a credential that only the service itself can see.
  static func isOutOfReach(_ secret: SecretSettings) -> Bool {
    if case .credential = secret.source { return path(of: secret.source) == nil }
    return false
  }

  private func raw(_ settings: SecretSettings) throws(Failure) -> Secret {
    let source = settings.source
    switch source {
    case .env(let name):
      if let secret = SecretLoader.taken.withLock({ $0[name] }) { return secret }
      guard let secret = try Secret(takingVariable: name) else {
        throw Failure(
          "\(source) is not set, or longer than \(Limits.secretBytes) bytes: "
            + "export it, or name a file or a credential in \(settings.path)")
      }
      SecretLoader.taken.withLock { $0[name] = secret }
      return secret
    case .file(let path): return try file(path.description, source)
    case .credential:
      guard let path = SecretLoader.path(of: source) else {
        throw Failure(
          "\(source) is there only inside the service: CREDENTIALS_DIRECTORY is not set. "
            + "Start jotd by systemd with LoadCredential= (systemd.exec(5)); for a single "
            + "command, name the secret with --secret-file")
      }
      return try file(path, source)
    }
  }

  /// The content of a secret file that others cannot read.
  private func file(_ path: String, _ source: SecretSource) throws(Failure) -> Secret {
    do throws(Failure) {
      let file = try Descriptor.open(path, [.nonBlocking])
      let status = try file.status()
      switch status.kind {
      case .file:
        if case .file = source, status.mode & 0o007 != 0 {
          throw Failure("can be read by others than its owner and group: chmod o= \(path)")
        }
        if case .file = source, !Accounts.trusted.contains(status.owner) {
          throw Failure(
            "belongs to neither root nor jotd's own user, so somebody else knows it: "
              + "chown root \(path)")
        }
      case .pipe where allowsPipe:
        // Opened anew, because the first does not wait for whoever writes.
        let pipe = try Descriptor.open(path)
        if let secret = try Secret(reading: pipe) { return secret }
        throw Failure(errno: EFBIG)
      default: throw Failure(errno: EINVAL)
      }
      guard let secret = try Secret(reading: file) else { throw Failure(errno: EFBIG) }
      return secret
    } catch {
      throw Failure("\(source) \(SecretLoader.explanation(error))", code: error.code)
    }
  }

  private static func explanation(_ error: Failure) -> String {
    switch error.code {
    case 0: error.description
    case EFBIG: "is longer than \(Limits.secretBytes) bytes: that is no secret"
    case EINVAL: "is not a file"
    case EACCES, EPERM:
      "cannot be read: \(error). jotd runs as \(Accounts.describe(user: Accounts.own))"
    default: "cannot be read: \(error)"
    }
  }
}

extension KeySettings {
  /// The key that is made of a signer for each of `secrets`, in their order; nil when one lacks.
  func key(_ signers: [HMACSigner?]) -> Key? {
    let made = signers.compactMap(\.self)
    guard let signing = made.first, made.count == secrets.count else { return nil }
    return Key(name: label.name, signing: signing, previous: made.dropFirst().first)
  }
}
