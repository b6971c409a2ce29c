import ArgumentParser

struct Check: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Say all that is wrong with the configuration and with the host.",
    discussion: """
      Reads the configuration as run does, and looks at the secret, the users, the folders, the \
      sockets and the hooks on this host. Called by root for the configuration of an installed \
      jotd.service, it is run by systemd as that service is, with its user, its credentials and \
      what it may do; otherwise it judges with the permissions of the user who calls it. The last \
      line says which. Exits with 78 when anything is wrong, with 0 otherwise, also after warnings.
      """)

  @OptionGroup var config: ConfigurationOption

  @Flag(
    help: """
      Look only for what a reload refuses, with the permissions of the caller, and say nothing if \
      there is none: jotd.service does so in a reload.
      """)
  var reload = false

  /// Set for the run that systemd starts as it starts the service.
  @Flag(help: .private) var asService = false
  /// What whoever starts that run has to say: its warnings.
  @Option(help: .private) var note: [String] = []

  func run() throws {
    Hardening.apply()
    if reload { return try judgeReload() }
    let diagnostics = Diagnostics()
    let whole = SourceLocation(file: config.pathOrStandard)
    for text in note { diagnostics.warn(whole, text) }
    if !asService {
      switch ServiceCheck.run(config.pathOrStandard) {
      case .judged(let code, let output): return try hand(on: output, code)
      case .startFails(let reason): diagnostics.error(whole, reason)
      case .impossible(let reason):
        diagnostics.warn(
          whole,
          "could not be checked as \(ServiceUnit.name) runs: \(reason). What is said here "
            + "holds for \(Accounts.describe(user: Accounts.own))")
      case .isNoService: break
      }
    }
    try judge(diagnostics)
  }

  private func judgeReload() throws {
    let diagnostics = Diagnostics()
    // The daemon has the rings of keys: nothing is made here.
    _ = LoadedConfiguration(config.pathOrStandard, .reload, inUse: nil, diagnostics)
    guard diagnostics.errors.isEmpty else {
      writeToStandardError(diagnostics.report + "\n")
      throw ExitCode.configuration
    }
  }

  /// Prints what the run as the service said: all on standard error, but for its verdict.
  private func hand(on output: String, _ code: ExitCode) throws {
    var lines = output.split(separator: "\n")
    let verdict = code == .success ? lines.popLast() : nil
    if !lines.isEmpty { writeToStandardError(lines.joined(separator: "\n") + "\n") }
    if let verdict { printLine(String(verdict)) }
    if code != .success { throw code }
  }

  private func judge(_ diagnostics: Diagnostics) throws {
    let before = diagnostics.errors.count
    let settings = Configuration.load(config.pathOrStandard, diagnostics)
    // What the document gets wrong comes first; the host is looked at closely once it is right.
    let isRight = diagnostics.errors.count == before
    if let settings {
      Preflight.inspectPlaces(settings, isRight ? .check : .reload, diagnostics)
      Preflight.inspectKeys(settings, .check, diagnostics)
    }
    for warning in diagnostics.warnings.sorted() { writeToStandardError("\(warning) (warning)\n") }
    guard diagnostics.errors.isEmpty, let settings else {
      writeToStandardError(diagnostics.report + "\n")
      if isRight { writeToStandardError("jotd: \(rights)\n") }
      throw ExitCode.configuration
    }
    let count = diagnostics.warnings.count
    printLine(
      "\(config.pathOrStandard): "
        + (count == 0 ? "all is well, " : "usable, with \(counted(count, "warning")): ")
        + "\(counted(settings.identities.count, "identity")) and "
        + "\(counted(settings.deliveryLocations.count, "delivery")); \(rights)")
  }

  /// Whose rights the diagnostics about the host hold for.
  private var rights: String {
    let user = Accounts.describe(user: Accounts.own)
    return asService
      ? "judged with the rights of \(ServiceUnit.name), as \(user)"
      : "judged with the rights of \(user)"
  }
}
