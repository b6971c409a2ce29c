import ArgumentParser
import Dispatch
import Glibc

struct Run: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run the daemon in the foreground.",
    discussion: """
      Mints a token for every identity, delivers it, and replaces it before it comes to its \
      threshold. SIGHUP reloads the configuration, SIGTERM and SIGINT stop it; delivered files \
      stay.
      """)

  @OptionGroup var config: ConfigurationOption

  func run() throws {
    // Until its handler is there, a reload asks for what is about to be done.
    signal(SIGHUP, SIG_IGN)
    Hardening.apply()
    Hardening.raiseFileLimit()
    Hardening.boundMemory()
    try MainActor.assumeIsolated {
      let daemon: Daemon
      do {
        let prepared = try Preparation(config.pathOrStandard)
        daemon = try Daemon(config.pathOrStandard, prepared, Journal())
        try daemon.start(prepared)
      } catch let refused as Preparation.Refused {
        writeToStandardError(refused.description + "\n")
        throw refused.mayPass ? ExitCode.hostError : ExitCode.configuration
      } catch {
        printNote("\(error)")
        throw ExitCode.cannotCreate
      }
      withExtendedLifetime(daemon) { dispatchMain() }
    }
  }
}
