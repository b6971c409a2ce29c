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
      let reader = SecretLoader(signing: signing, allowsPipe: true)
      let (signer, warnings) = try reader.signer()
      for warning in warnings { printNote("warning: \(warning)") }
      return (signer, lifetimes)
    } catch {
      printNote("\(error)")
      throw ExitCode.configuration
    }
  }
}

/// How long a new token is to live: for mint and refresh.
struct LifetimeOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "How long the token lives, as in systemd.time(7): 24h, 30min (default: defaults.lifetime of "
        + "the configuration, or 24h).",
      valueName: "span"))
  var lifetime: String?

  @Option(help: ArgumentHelp("The same as whole hours.", valueName: "n"))
  var expiryHours: Int?

  func validate() throws {
    guard lifetime == nil || expiryHours == nil else {
      throw ValidationError("--lifetime and --expiry-hours exclude each other.")
    }
    if let expiryHours, !(1...87_660).contains(expiryHours) {
      throw ValidationError("--expiry-hours must be from 1 to 87660 (10 years).")
    }
    if let lifetime {
      guard let value = Duration(timeSpan: lifetime) else {
        throw ValidationError(
          "--lifetime must be a time span as in systemd.time(7), such as 24h or 1h 30min.")
      }
      if let fault = Identity.fault(inLifetime: value) { throw ValidationError("--\(fault).") }
    }
  }

  /// What was asked for; nil when nothing was.
  var value: Duration? {
    lifetime.flatMap(Duration.init(timeSpan:)) ?? expiryHours.map { .seconds($0 * 3600) }
  }
}

/// The token that verify, decode and refresh work on.
struct TokenArgument: ParsableArguments {
  @Argument(help: "The token; without it, or for -, standard input is read.")
  var token: String?

  /// The token's bytes, without white space around them; refused as malformed when they cannot be
  /// read or are too many.
  func read() throws(VerificationError) -> [UInt8] {
    let bytes: [UInt8]
    if let token, token != "-" {
      bytes = Array(token.utf8)
    } else {
      if isStandardInputTerminal { printNote("reading a token from the terminal, end with Ctrl-D") }
      do { bytes = try standardInput(upTo: 2 * Limits.tokenBytes) } catch {
        throw VerificationError(
          .malformed,
          error.code == EFBIG
            ? "longer than \(Limits.tokenBytes) bytes" : "standard input: \(error)")
      }
    }
    return TokenArgument.trimmed(bytes)
  }

  /// A token without the white space around it.
  static func trimmed(_ bytes: [UInt8]) -> [UInt8] {
    let blanks: Set<UInt8> = [0x20, 0x09, 0x0a, 0x0d]
    let start = bytes.firstIndex { !blanks.contains($0) } ?? bytes.endIndex
    let end = bytes.lastIndex { !blanks.contains($0) }.map { $0 + 1 } ?? start
    return Array(bytes[start..<end])
  }
}
