import Glibc
import Rotation
import Synchronization

/// Fetches the secrets of a key, or its private key, and judges them.
struct SecretLoader {
  let key: KeySettings
  /// Whether the file may be a pipe, for which the reader waits: how a shell hands a secret to a
  /// command without a file. Not for the daemon, which waits for nobody.
  var allowsPipe = false

  /// What was taken from the environment: it is there once, because it is wiped when taken.
  private static let taken = Mutex<[String: Secret]>([:])

  /// A signer with the secret or the private key as it is now, and what should be said about it.
  func signer() throws(Failure) -> (signer: any Signer, warnings: [String]) {
    guard let secret = key.secret else { throw Failure("the key is a ring, and has no secret") }
    return try signer(secret)
  }

  /// The same with one of the secrets.
  func signer(
    _ settings: SecretSettings
  ) throws(Failure) -> (signer: any Signer, warnings: [String]) {
    settings.algorithm.takesSecret
      ? try secretSigner(settings) : (try privateKeySigner(settings), [])
  }

  /// The same with a key that stays in a device.
  func deviceSigner(
    _ uri: KeyURI, _ settings: SecretSettings
  ) throws(DeviceFault) -> DeviceSigner {
    let opener: Secret?
    do throws(Failure) { opener = try passphrase(of: settings) } catch { throw .unfit(error) }
    return try DeviceSigner(uri, settings.algorithm, kid: key.label.kid, passphrase: opener)
  }

  private func passphrase(of settings: SecretSettings) throws(Failure) -> Secret? {
    guard let source = settings.passphrase else { return nil }
    let written = try raw(
      source, "passphrase", "\(settings.path).passphrase", Limits.passphraseBytes)
    // A newline at its end is an editor's.
    let passphrase = try written.withoutNewline
    guard passphrase.count > 0 else { throw Failure("\(source.named("passphrase")) is empty") }
    return passphrase
  }

  private func privateKeySigner(_ settings: SecretSettings) throws(Failure) -> any Signer {
    if case .uri(let uri) = settings.source {
      do throws(DeviceFault) { return try deviceSigner(uri, settings) } catch {
        throw error.failure
      }
    }
    let encoded = try raw(settings.source, settings.noun, settings.path, Limits.privateKeyBytes)
    let passphrase = try passphrase(of: settings)
    do throws(Failure) {
      return try PrivateKeySigner(
        reading: encoded, settings.algorithm, kid: key.label.kid, passphrase: passphrase)
    } catch { throw Failure("\(settings): \(error)") }
  }

  private func secretSigner(
    _ settings: SecretSettings
  ) throws(Failure) -> (signer: any Signer, warnings: [String]) {
    let raw = try raw(settings.source, settings.noun, settings.path, Limits.secretBytes)
    let algorithm = settings.algorithm
    let secret: Secret
    do { secret = try raw.decoded(settings.encoding) } catch {
      throw Failure("\(settings): \(error)")
    }
    guard secret.count > 0 else { throw Failure("\(settings): the secret is empty") }
    var warnings: [String] = []
    if let weakness = secret.weakness(for: algorithm) {
      // Of one that was replaced, nothing better can be asked.
      guard key.allowWeak || settings.isFormer else {
        throw Failure(
          "\(settings): \(weakness). Make a new one with \"jotd secret\"; if the service's secret "
            + "cannot be changed yet, set \(key.path).allow_weak_secret: true "
            + "(--allow-weak-secret for a command)"
        )
      }
      warnings.append(
        "\(settings): \(weakness). It is "
          + (settings.isFormer
            ? "believed all the same (previous)" : "used all the same (allow_weak_secret)"))
    }
    if settings.encoding == .utf8, secret.endsWithNewline {
      warnings.append(
        "\(settings): the secret ends with a newline, which counts as a part of it (encoding: "
          + "utf8). If the service's has none, write it with printf in place of echo")
    }
    return (try HMACSigner(secret, algorithm, kid: key.label.kid), warnings)
  }

  /// What tells whether the source changed since: nil when it cannot be looked at.
  var fingerprint: FileStatus? {
    path.flatMap { try? FileSystem.status(of: $0) }
  }

  /// The file behind the secret, or behind what opens the device that holds the key; nil for a
  /// variable, and for a credential outside of a service.
  var path: String? {
    guard let secret = key.secret else { return nil }
    return SecretLoader.path(of: secret.isInDevice ? secret.passphrase : secret.source)
  }

  /// The files behind the secrets, and behind what opens them.
  var paths: [String] {
    key.secrets.flatMap { [$0.source] + [$0.passphrase].compactMap(\.self) }
      .compactMap { SecretLoader.path(of: $0) }
  }

  private static func path(of source: SecretSource?) -> String? {
    switch source {
    case .env, .uri, nil: nil
    case .file(let path): path.description
    case .credential(let id): Environment["CREDENTIALS_DIRECTORY"].map { "\($0)/\(id)" }
    }
  }

  /// Whether the secret, or what opens it, is a credential that only the service itself can see.
  static func isOutOfReach(_ secret: SecretSettings) -> Bool {
    [secret.source, secret.passphrase].compactMap(\.self).contains { source in
      if case .credential = source { path(of: source) == nil } else { false }
    }
  }

  /// Takes the variables of all `keys`, so that no process of jotd's has them from then on. Those
  /// that are not set, or too long, are told of when they are read.
  static func takeVariables(of keys: [KeySettings]) {
    for secret in keys.flatMap(\.secrets) {
      for case .env(let name) in [secret.source, secret.passphrase].compactMap(\.self) {
        taken.withLock { taken in
          if taken[name] == nil { taken[name] = try? Secret(takingVariable: name) }
        }
      }
    }
  }

  /// What is at `source`, a `noun` that is configured at `path`, of `limit` bytes at most.
  private func raw(
    _ source: SecretSource, _ noun: String, _ path: String, _ limit: Int
  ) throws(Failure) -> Secret {
    switch source {
    case .env(let name):
      if let secret = SecretLoader.taken.withLock({ $0[name] }), secret.count <= limit {
        return secret
      }
      guard let secret = try Secret(takingVariable: name, upTo: limit) else {
        throw Failure(
          "\(source.named(noun)) is not set, or longer than \(limit) bytes: "
            + "export it, or name a file or a credential in \(path)")
      }
      SecretLoader.taken.withLock { $0[name] = secret }
      return secret
    case .file(let path): return try file(path.description, source, noun, limit)
    case .credential:
      guard let path = SecretLoader.path(of: source) else {
        throw Failure(
          "\(source.named(noun)) is there only inside the service: CREDENTIALS_DIRECTORY is not "
            + "set. Start jotd by systemd with LoadCredential= (systemd.exec(5)); for a single "
            + "command, name the key's file with --secret-file or --private-key-file")
      }
      return try file(path, source, noun, limit)
    case .uri: throw Failure("\(source.named(noun)) stays there")
    }
  }

  /// The content of a file of secrets, which others cannot read.
  private func file(
    _ path: String, _ source: SecretSource, _ noun: String, _ limit: Int
  ) throws(Failure) -> Secret {
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
        if let secret = try Secret(reading: pipe, upTo: limit) { return secret }
        throw Failure(errno: EFBIG)
      default: throw Failure(errno: EINVAL)
      }
      guard let secret = try Secret(reading: file, upTo: limit) else { throw Failure(errno: EFBIG) }
      return secret
    } catch {
      throw Failure(
        "\(source.named(noun)) \(SecretLoader.explanation(error, noun, limit))", code: error.code)
    }
  }

  private static func explanation(_ error: Failure, _ noun: String, _ limit: Int) -> String {
    switch error.code {
    case 0: error.description
    case EFBIG: "is longer than \(limit) bytes: that is no \(noun)"
    case EINVAL: "is not a file"
    case EACCES, EPERM:
      "cannot be read: \(error). jotd runs as \(Accounts.describe(user: Accounts.own))"
    default: "cannot be read: \(error)"
    }
  }
}

extension KeySettings {
  /// The key that is made of a signer for each of `secrets`, in their order; nil when one lacks.
  func key(_ signers: [(any Signer)?]) -> Key? {
    let made = signers.compactMap(\.self)
    guard let signing = made.first, made.count == secrets.count else { return nil }
    return Key(
      name: label.name, signing: signing, previous: made.dropFirst().first,
      publication: publication)
  }
}
