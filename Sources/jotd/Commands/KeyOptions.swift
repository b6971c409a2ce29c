import ArgumentParser
import Glibc
import Rotation

extension Algorithm: ExpressibleByArgument {}

extension SecretEncoding: ExpressibleByArgument {}

extension Role: ExpressibleByArgument {}

/// Where mint, verify and refresh take their keys from: a configuration, or a secret named on the
/// command line.
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

  @Option(help: "How the secret of --secret-file or --secret-env is written (default: utf8).")
  var secretEncoding: SecretEncoding?

  @Option(help: "The algorithm for the secret of --secret-file or --secret-env (default: HS256).")
  var algorithm: Algorithm?

  @Flag(help: "Accept a short or well-known secret from --secret-file or --secret-env.")
  var allowWeakSecret = false

  func validate() throws {
    guard secretFile == nil || secretEnv == nil else {
      throw ValidationError("--secret-file and --secret-env exclude each other.")
    }
    guard key == nil || (secretFile ?? secretEnv) == nil else {
      throw ValidationError(
        "--key names one of a configuration's keys: leave --secret-file and --secret-env out.")
    }
    guard config.path == nil || (secretFile ?? secretEnv) == nil else {
      throw ValidationError(
        "--config brings its own secret: leave --secret-file and --secret-env out.")
    }
    let isAlone = secretEncoding == nil && algorithm == nil && !allowWeakSecret
    guard isAlone || (secretFile ?? secretEnv) != nil else {
      throw ValidationError(
        "--secret-encoding, --algorithm and --allow-weak-secret go with --secret-file or "
          + "--secret-env; a configuration says these things itself.")
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
    return (try signer(chosen, chosen.secret), lifetimes)
  }

  /// What tokens may be signed with, and the same lifetimes.
  func keys() throws -> (keys: Keys, lifetimes: Lifetimes) {
    let (settings, lifetimes) = try settings()
    let keys = try settings.compactMap { key in
      key.key(try key.secrets.map { try signer(key, $0, isOneOfSeveral: settings.count > 1) })
    }
    return (Keys(keys), lifetimes)
  }

  /// At least one key, and only the one that is asked for by name.
  private func settings() throws -> ([KeySettings], Lifetimes) {
    Hardening.apply()
    if let source = (secretFile.map { SecretSource.file(Path($0)) })
      ?? (secretEnv.map { SecretSource.env($0) })
    {
      let label = KeyLabel(algorithm: algorithm ?? .hs256)
      let secret = SecretSettings(
        source: source, encoding: secretEncoding ?? .utf8, algorithm: label.algorithm,
        path: "signing.secret")
      let key = KeySettings(
        label: label, path: "signing", secret: secret, allowWeak: allowWeakSecret)
      return ([key], Lifetimes())
    }
    let diagnostics = Diagnostics()
    let settings = Configuration.load(config.pathOrStandard, diagnostics)
    guard let settings, diagnostics.errors.isEmpty else {
      writeToStandardError(diagnostics.report + "\n")
      if config.path == nil {
        printNote("without a configuration, name the secret: --secret-file or --secret-env")
      }
      throw ExitCode.configuration
    }
    let all = settings.keys.map(\.settings)
    guard let key else { return (all, settings.defaults) }
    guard let chosen = all.first(where: { $0.label.name == key }) else {
      printNote("the configuration has no such key: it has \(names(all))")
      throw ExitCode.validationFailure
    }
    return ([chosen], settings.defaults)
  }

  private func names(_ settings: [KeySettings]) -> String {
    settings.map(\.label.name).joined(separator: ", ")
  }

  private func signer(
    _ key: KeySettings, _ secret: SecretSettings, isOneOfSeveral: Bool = false
  ) throws -> HMACSigner {
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
