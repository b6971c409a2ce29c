import ArgumentParser
import Dispatch
import Glibc
import Rotation

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
    let journal = Journal()
    guard Hardening.fileLimit >= Limits.fewestDescriptors else {
      let reason =
        "at most \(Hardening.fileLimit) files may be open (ulimit -n): jotd needs "
        + "\(Limits.fewestDescriptors) at least"
      if !journal.refuseStart([reason]) { printNote(reason) }
      throw ExitCode.hostError
    }
    try MainActor.assumeIsolated {
      let daemon = try start(journal)
      withExtendedLifetime(daemon) { MainQueue.serve() }
    }
  }

  /// In a function of its own, so that what was only read for the start is let go.
  @MainActor
  private func start(_ journal: Journal) throws -> Daemon {
    let diagnostics = Diagnostics()
    guard let loaded = LoadedConfiguration(config.pathOrStandard, .start, inUse: [:], diagnostics)
    else {
      let text = diagnostics.report
      if !journal.refuseStart(text.split(separator: "\n").map(String.init)) {
        writeToStandardError(text + "\n")
      }
      throw diagnostics.areTransient ? ExitCode.hostError : ExitCode.configuration
    }
    do { return try Daemon(config.pathOrStandard, loaded, journal) } catch {
      if !journal.refuseStart(["\(error)"]) { printNote("\(error)") }
      throw ExitCode.cannotCreate
    }
  }
}

extension Journal {
  /// Says in journald why jotd does not start, each reason in an entry, and an explained one at the
  /// end. False, and nothing is said, where standard error is somebody's to read.
  fileprivate func refuseStart(_ reasons: [String]) -> Bool {
    guard isJournald else { return false }
    if reasons.count > 1 {
      for reason in reasons { write(JournalEntry(.error, reason)) }
      report(.startRefused("\(counted(reasons.count, "error")), which stand before this"))
    } else {
      report(.startRefused(reasons.joined()))
    }
    flush(within: Limits.shutdownGrace)
    return true
  }
}
