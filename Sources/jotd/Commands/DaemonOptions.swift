import ArgumentParser
import Rotation

/// `--socket` and `--config`: how the commands that ask the running daemon find it.
struct DaemonOptions: ParsableArguments {
  @Option(
    name: .customLong("socket"),
    help: ArgumentHelp(
      "The daemon's query socket (default: socket.path of the configuration, or "
        + "\(Configuration.standardSocket)).", valueName: "path"),
    completion: .file())
  var path: String?

  @OptionGroup var config: ConfigurationOption

  /// Where the daemon is asked. Nothing in the configuration makes this fail.
  var socket: DaemonSocket { DaemonSocket(path, config.pathOrStandard) }
}

/// Refuses, as wrong usage, what is no identity's name.
func validateIdentity(_ name: String) throws {
  if let fault = Identity.fault(inName: name) { throw ValidationError("\(fault).") }
}
