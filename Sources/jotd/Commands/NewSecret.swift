import ArgumentParser

struct NewSecret: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "secret",
    abstract: "Print a new random secret: 32 bytes in base64.",
    discussion: """
      Use it with encoding: base64, or as it is: then without the newline at its end, as in
      printf %s "$(jotd secret)" > /etc/jotd/secret
      """)

  @OptionGroup var config: ConfigurationOption

  func run() throws {
    Hardening.apply()
    do { printLine(try Secret.random().base64) } catch {
      printNote("\(error)")
      throw ExitCode.hostError
    }
  }
}
