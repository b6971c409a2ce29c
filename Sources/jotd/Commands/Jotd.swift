import ArgumentParser

/// The command line.
struct Jotd: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "jotd",
    abstract: "Keeps a fresh JWT for every client on a camera host.",
    discussion: "See jotd(8) for the commands and jotd.yaml(5) for the configuration.",
    version: version,
    subcommands: [
      Run.self, Check.self, Status.self, HealthCommand.self, TokenCommand.self, Rotate.self,
      Reload.self, Mint.self, Verify.self, Decode.self, Refresh.self, NewSecret.self, Polkit.self,
    ])
}

/// The exit codes of sysexits(3) that jotd uses. Wrong usage, 64, is ArgumentParser's own.
extension ExitCode {
  /// EX_DATAERR: the token that was given is not to be believed.
  static let badData = ExitCode(65)
  /// EX_UNAVAILABLE: the daemon cannot be reached, or cannot do it now.
  static let unavailable = ExitCode(69)
  /// EX_CANTCREAT: the timer or the query socket cannot be made.
  static let cannotCreate = ExitCode(73)
  /// EX_NOPERM: the caller is not allowed to.
  static let notAllowed = ExitCode(77)
  /// EX_OSERR: the host refused something basic.
  static let hostError = ExitCode(71)
  /// EX_CONFIG: the configuration, or the secret it names, is wrong.
  static let configuration = ExitCode(78)
}

/// `--config`, which every command takes.
struct ConfigurationOption: ParsableArguments {
  @Option(
    name: .customLong("config"),
    help: ArgumentHelp(
      "The configuration file (default: \(Configuration.standardPath)).", valueName: "file"),
    completion: .file())
  var path: String?

  /// Where the configuration is when the option is not given.
  var pathOrStandard: String { path ?? Configuration.standardPath }
}
