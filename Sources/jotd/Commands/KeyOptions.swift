import ArgumentParser
import Glibc
import Rotation

extension Algorithm: ExpressibleByArgument {}

extension SecretEncoding: ExpressibleByArgument {}

extension Role: ExpressibleByArgument {}

/// Where mint, verify and refresh take their key from: a configuration's `signing`, or a secret
/// named on the command line.
struct KeyOptions: ParsableArguments {
  @OptionGroup var config: ConfigurationOption

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

  /// The signer, and the lifetimes that hold without further options. Says on standard error
  /// what is wrong, or weak.
  func load() throws -> (signer: HMACSigner, lifetimes: Lifetimes) {
    Hardening.apply()
    let signing: SigningSettings
    var lifetimes = Lifetimes()
    if let source = (secretFile.map { SecretSource.file(Path($0)) })
      ?? (secretEnv.map { SecretSource.env($0) })
    {
      signing = SigningSettings(
        algorithm: algorithm ?? .hs256, source: source, encoding: secretEncoding ?? .utf8,
        allowWeak: allowWeakSecret)
    } else {
      let diagnostics = Diagnostics()
      let settings = Configuration.load(config.pathOrStandard, diagnostics)
      guard let settings, diagnostics.errors.isEmpty else {
        writeToStandardError(diagnostics.report + "\n")
        if config.path == nil {
          printNote("without a configuration, name the secret: --secret-file or --secret-env")
        }
        throw ExitCode.configuration
      }
      signing = settings.signing
      lifetimes = settings.defaults
    }
    do {
      let loader = SecretLoader(signing: signing, allowsPipe: true)
      let (signer, warnings) = try loader.signer()
      for warning in warnings { printNote("warning: \(warning)") }
      return (signer, lifetimes)
    } catch {
      printNote("\(error)")
      throw ExitCode.configuration
    }
  }
}
