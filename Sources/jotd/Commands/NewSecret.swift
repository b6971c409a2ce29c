import ArgumentParser
import Rotation

struct NewSecret: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "secret",
    abstract: "Make a new random secret: 32 bytes, as 44 characters of base64.",
    discussion: """
      Without encoding: in the configuration, or with encoding: utf8, the 44 characters \
      themselves are the key; with encoding: base64, the 32 bytes that they stand for. The \
      service that checks the tokens has to take them in the same way.

      A line feed follows on a terminal only: it would be a part of the key.
      """)

  @OptionGroup var file: NewKeyFile
  @OptionGroup var config: ConfigurationOption

  func run() throws {
    Hardening.apply()
    let secret: String
    do { secret = try Secret.random().base64 } catch {
      printNote("\(error)")
      throw ExitCode.hostError
    }
    let isForTerminal = file.output == nil && terminalColumns != nil
    try file.write(isForTerminal ? secret + "\n" : secret)
  }
}
