import ArgumentParser
import Glibc
import Rotation

extension Algorithm: ExpressibleByArgument {}

extension SecretEncoding: ExpressibleByArgument {}

extension Role: ExpressibleByArgument {}

/// Where mint, verify and refresh take their keys from: a configuration, or a secret or private key
/// named on the command line.
struct KeyOptions: ParsableArguments {
  @OptionGroup var config: ConfigurationOption

  @Option(
    help: ArgumentHelp(
      "Take only this key of the configuration.",
      valueName: "name"))
  var key: String?

  @Option(
    help: ArgumentHelp(
      "Take the secret from this file; no configuration is read.",
      valueName: "file"), completion: .file())
  var secretFile: String?

  @Option(
    help: ArgumentHelp(
      "Take the secret from this environment variable.",
      valueName: "name"))
  var secretEnv: String?

  @Option(
    help: ArgumentHelp(
      "Take a private key from this file, PEM or JWK, for --algorithm.",
      valueName: "file"), completion: .file())
  var privateKeyFile: String?

  @Option(help: "How the secret of --secret-file or --secret-env is written (default: utf8).")
  var secretEncoding: SecretEncoding?

  @Option(
    help: ArgumentHelp(
      "The algorithm for what is named so (default: HS256).", valueName: "name"))
  var algorithm: Algorithm?

  @Flag(help: "Accept a short or well-known secret from --secret-file or --secret-env.")
  var allowWeakSecret = false

  /// Where one of these options says that the key is.
  private var source: SecretSource? {
    (secretFile ?? privateKeyFile).map { SecretSource.file(Path($0)) }
      ?? secretEnv.map { SecretSource.env($0) }
  }

  /// Whether none is given.
  var isEmpty: Bool {
    source == nil && key == nil && config.path == nil && algorithm == nil && secretEncoding == nil
      && !allowWeakSecret
  }

  func validate() throws {
    guard [secretFile, secretEnv, privateKeyFile].count(where: { $0 != nil }) < 2 else {
      throw ValidationError(
        "--secret-file, --secret-env and --private-key-file exclude each other.")
    }
    guard key == nil || source == nil else {
      throw ValidationError(
        "--key names one of a configuration's keys: leave --secret-file, --secret-env and "
          + "--private-key-file out.")
    }
    guard config.path == nil || source == nil else {
      throw ValidationError(
        "--config brings its own keys: leave --secret-file, --secret-env and "
          + "--private-key-file out.")
    }
    let isAboutSecret = secretEncoding != nil || allowWeakSecret
    guard !isAboutSecret && algorithm == nil || source != nil else {
      throw ValidationError(
        "--secret-encoding and --allow-weak-secret go with --secret-file or --secret-env, and "
          + "--algorithm with these or --private-key-file; a configuration says these things "
          + "itself.")
    }
    guard source == nil || (algorithm ?? .hs256).takesSecret == (privateKeyFile == nil) else {
      throw ValidationError(
        privateKeyFile == nil
          ? "\(algorithm!.rawValue) takes a private key: --private-key-file."
          : "Say by --algorithm what the private key is for: "
            + Algorithm.allCases.filter { !$0.takesSecret }.map(\.rawValue)
            .joined(separator: ", ") + ".")
    }
    guard privateKeyFile == nil || !isAboutSecret else {
      throw ValidationError(
        "--secret-encoding and --allow-weak-secret do not go with --private-key-file.")
    }
  }

  /// What new tokens are signed with, and the lifetimes that hold without further options. Says on
  /// standard error what is wrong, or weak.
  func signer() throws -> (signer: any Signer, lifetimes: Lifetimes) {
    let (settings, lifetimes) = try settings()
    // Of several, none was asked for.
    let standard = settings.first { $0.label.name == Key.standardName }
    guard let chosen = settings.count == 1 ? settings[0] : standard else {
      printNote("the configuration has several keys: choose one of \(names(settings)) by --key")
      throw ExitCode.validationFailure
    }
    if let signing = try ring(chosen)?.signing { return (signing, lifetimes) }
    guard let secret = chosen.secret else { throw ExitCode.configuration }
    return (try signer(chosen, secret), lifetimes)
  }

  /// What tokens may be signed with, and the same lifetimes.
  func keys() throws -> (keys: Keys, lifetimes: Lifetimes) {
    let (settings, lifetimes) = try settings()
    let keys = try settings.compactMap { key in
      if let ring = try ring(key) { return ring }
      return key.key(
        try key.secrets.map { try signer(key, $0, isOneOfSeveral: settings.count > 1) })
    }
    return (Keys(keys), lifetimes)
  }

  /// At least one key, and only the one that is asked for by name.
  private func settings() throws -> ([KeySettings], Lifetimes) {
    Hardening.apply()
    if let source {
      let label = KeyLabel(algorithm: algorithm ?? .hs256)
      let secret = SecretSettings(
        source: source, encoding: secretEncoding ?? .utf8, algorithm: label.algorithm,
        path: label.algorithm.takesSecret ? "signing.secret" : "signing.private_key")
      let key = KeySettings(
        label: label, path: "signing", secret: secret, allowWeak: allowWeakSecret)
      return ([key], Lifetimes())
    }
    let diagnostics = Diagnostics()
    let settings = Configuration.load(config.pathOrStandard, diagnostics)
    guard let settings, diagnostics.errors.isEmpty else {
      writeToStandardError(diagnostics.report + "\n")
      if config.path == nil {
        printNote(
          "without a configuration, name the key: --secret-file, --secret-env or "
            + "--private-key-file")
      }
      throw ExitCode.configuration
    }
    let all = settings.keys.map(\.settings)
    SecretLoader.takeVariables(of: all)
    guard let key else { return (all, settings.defaults) }
    guard let chosen = all.first(where: { $0.label.name == key }) else {
      printNote("the configuration has no such key: it has \(names(all))")
      throw ExitCode.validationFailure
    }
    return ([chosen], settings.defaults)
  }

  /// The key of a ring as its folder has it; nil for a key that is none.
  private func ring(_ settings: KeySettings) throws -> Key? {
    var warnings: [String] = []
    do throws(Failure) {
      guard var ring = try LoadedRing(reading: settings, longestLife: .zero, &warnings) else {
        return nil
      }
      try ring.loadActive()
      for warning in warnings { printNote("warning: \(warning)") }
      return try ring.key()
    } catch {
      printNote("\(error)")
      throw ExitCode.configuration
    }
  }

  private func names(_ settings: [KeySettings]) -> String {
    settings.map(\.label.name).joined(separator: ", ")
  }

  private func signer(
    _ key: KeySettings, _ secret: SecretSettings, isOneOfSeveral: Bool = false
  ) throws -> any Signer {
    do throws(Failure) {
      let (signer, warnings) = try SecretLoader(key: key, allowsPipe: true).signer(secret)
      for warning in warnings { printNote("warning: \(warning)") }
      return signer
    } catch {
      printNote("\(error)")
      if isOneOfSeveral { printNote("with --key, only the secrets of that key are read") }
      throw ExitCode.configuration
    }
  }
}
