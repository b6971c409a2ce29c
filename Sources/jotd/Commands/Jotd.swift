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
      Reload.self, Mint.self, Verify.self, Decode.self, Refresh.self, NewSecret.self,
      KeyCommand.self, Polkit.self, DeviceHelper.self,
    ])
}

/// The exit codes of sysexits(3) that jotd uses. Wrong usage, 64, is ArgumentParser's own.
extension ExitCode {
  /// EX_DATAERR: what was given, such as a token or an identity's name, cannot be used.
  static let badData = ExitCode(65)
  /// EX_UNAVAILABLE: the daemon cannot be reached, or cannot do it now.
  static let unavailable = ExitCode(69)
  /// EX_CANTCREAT: something that `run` needs, such as its lock or a socket, or a file, cannot be
  /// made.
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

  /// The configuration file: the option's, or the standard one when it is not given.
  var pathOrStandard: String { path ?? Configuration.standardPath }
}
